"""What bounds a step: operations and bytes, counted, against what this machine's products and copies reach."""

import time

import jax
import jax.numpy as jnp
from jax.stages import Compiled, Lowered
from jaxtyping import PyTree

from rgbir_jax.training import parallel
from rgbir_jax.training.stage import Stage


def step_cost(stage: Stage, state: PyTree, batch: PyTree) -> dict[str, float]:
    """XLA's count of one iteration of the whole batch, compiled for a CPU: `flops` and `bytes accessed`.

    A multiplication and an addition are two operations; of a program for a GPU its library calls would be left out.
    The bytes are the operands and results of every compiled operation, each once. Those that a cache still holds are
    counted with the others, so they are usually more than what goes to and from memory; on a CPU, where less is fused,
    by more.

    Args:
        stage: whose `train_step`.
        state: arrays or `jax.ShapeDtypeStruct`s, likewise `batch`; nothing is computed.
        batch: the global one.
    """
    cpu = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])

    def shape(x, lead=()):
        return jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype, sharding=cpu)

    one_device = jax.tree.map(lambda x: shape(x, (1,)), batch)
    step = jax.jit(jax.vmap(stage.train_step, (None, 0, None), axis_name=parallel.AXIS))
    lowered = step.lower(jax.tree.map(shape, state), one_device, shape(jax.eval_shape(jax.random.key, 0)))
    return cost(lowered.compile())


def cost(compiled: Compiled | Lowered) -> dict[str, float]:
    """XLA's count of a program.

    Raises:
        RuntimeError: where the backend does not count.
    """
    counted = compiled.cost_analysis()
    if not counted:
        raise RuntimeError(f"XLA does not count what programs cost on {jax.default_backend()}.")
    return counted


def ceilings(dtype: str) -> dict[str, float]:
    """What one device reaches: FLOP/s in a matrix product of `dtype`, bytes read and written a second in a copy."""
    on_gpu = jax.default_backend() != "cpu"
    side, copied = (8192, 2**28) if on_gpu else (2048, 2**26)
    a = jnp.ones((side, side), dtype)
    product = jax.jit(lambda a: a @ a)
    vector = jnp.ones(copied, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    return {
        "matrix_flops": 2 * side**3 / fastest(lambda: product(a)),
        "copy_bytes": 2 * vector.nbytes / fastest(lambda: copy(vector)),
    }


def fastest(function, repeats=10):
    """Seconds of the best of some runs: a ceiling is not a median."""
    jax.block_until_ready(function())
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return min(seconds)
