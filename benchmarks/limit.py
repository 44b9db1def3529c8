"""Counts a step's operations and bytes, and measures the rates of this machine that limit it."""

import time

import jax
import jax.numpy as jnp
from jax.stages import Compiled, Lowered
from jaxtyping import PyTree

from rgbir_jax.training import parallel
from rgbir_jax.training.stage import Stage


def step_cost(stage: Stage, state: PyTree, batch: PyTree) -> dict[str, float]:
    """Returns XLA's `flops` and `bytes accessed` of one iteration of the whole batch, compiled for a CPU.

    A multiplication and an addition count as two operations. The count is made for a CPU because XLA does not count
    library calls in a GPU's program. The bytes are the operands and results of every compiled operation, each counted
    once. They are usually more than what goes to and from memory, because some are still in a cache. A CPU's program
    fuses less than a GPU's, so the difference is larger there.

    Args:
        stage: the stage to count.
        state: its State, as arrays or `jax.ShapeDtypeStruct`s; nothing is computed.
        batch: the global batch, as arrays or `jax.ShapeDtypeStruct`s.
    """
    cpu = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])

    def shape(x, lead=()):
        return jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype, sharding=cpu)

    one_device = jax.tree.map(lambda x: shape(x, (1,)), batch)
    step = jax.jit(jax.vmap(stage.train_step, (None, 0, None), axis_name=parallel.AXIS))
    lowered = step.lower(jax.tree.map(shape, state), one_device, shape(jax.eval_shape(jax.random.key, 0)))
    return cost(lowered.compile())


def cost(compiled: Compiled | Lowered) -> dict[str, float]:
    """Returns XLA's cost analysis of a program.

    Raises:
        RuntimeError: if the backend has none.
    """
    analysis = compiled.cost_analysis()
    if not analysis:
        raise RuntimeError(f"XLA has no cost analysis of programs for {jax.default_backend()}.")
    return analysis


def ceilings(dtype: str) -> dict[str, float]:
    """Measures one device: FLOP/s of a matrix product of `dtype`, and bytes read and written per second by a copy."""
    on_gpu = jax.default_backend() != "cpu"
    side, length = (8192, 2**28) if on_gpu else (2048, 2**26)
    a = jnp.ones((side, side), dtype)
    product = jax.jit(lambda a: a @ a)
    vector = jnp.ones(length, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    return {
        "matrix_flops": 2 * side**3 / fastest(lambda: product(a)),
        "copy_bytes": 2 * vector.nbytes / fastest(lambda: copy(vector)),
    }


def fastest(function, repeats=10):
    """Returns the seconds of the fastest of several calls: an upper limit of a rate is not a median."""
    jax.block_until_ready(function())
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return min(seconds)
