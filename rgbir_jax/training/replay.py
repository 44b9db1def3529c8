"""Finds the operation that gave a NaN or an infinity: an iteration is done once more, one operation at a time."""

import traceback
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from rgbir_jax.data.source import Batch
from rgbir_jax.training import parallel
from rgbir_jax.training.stage import Key, Stage
from rgbir_jax.training.state import State

LIBRARIES = tuple(str(Path(str(module.__file__)).parent) for module in (jax, flax, optax))


def not_finite_operation(stage: Stage, state: State, batch: Batch, key: Key) -> str:
    """Does an iteration without compiling it, until an operation gives a NaN or, if none does, an infinity.

    Args:
        stage: the stage.
        state: the state before the iteration.
        batch: this process's share of the batch, on the host.
        key: the run's key.

    Returns:
        The operation and its place in the code, as a clause. Of several processes each sees only its own images.
    """
    parts = {name: array.reshape(jax.local_device_count(), -1, *array.shape[1:]) for name, array in batch.items()}
    state = jax.tree.map(jnp.asarray, jax.device_get(state))

    def step(part) -> PyTree:
        return stage.train_step(state, part, key)

    for check in (jax.debug_nans, jax.debug_infs):
        try:
            with jax.disable_jit(), check(True):
                jax.vmap(step, axis_name=parallel.AXIS)(parts)
        except FloatingPointError as error:
            return _clause(error)
    return "every operation is finite if the iteration is done one operation at a time"


def _clause(error: FloatingPointError) -> str:
    """Names the operation and the innermost line outside the libraries; of a gradient, the line that it belongs to."""
    operation = str(error).splitlines()[0].rstrip(".")
    forward = error.__cause__  # JAX's record of the operation whose gradient was computed
    is_gradient = "BeforeTransformation" in type(forward).__name__
    frames = traceback.extract_tb((forward if is_gradient and forward else error).__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(LIBRARIES)]
    line = (own or frames)[-1]
    return f"{operation}, in {'the gradient of ' * is_gradient}`{line.line}` ({line.filename}, line {line.lineno})"
