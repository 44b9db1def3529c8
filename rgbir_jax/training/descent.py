"""One gradient step, on the whole batch or on micro-batches for devices with little memory."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from rgbir_jax.errors import UserError
from rgbir_jax.training import parallel
from rgbir_jax.training.optimizers import Optimizers, gradient_norms
from rgbir_jax.training.state import State

# (params, batch_stats, batch, key) -> (value, (metrics, batch_stats))
Loss = Callable[[PyTree, PyTree, PyTree, Array], tuple]


def descend(
    loss: Loss, state: State, optimizers: Optimizers, batch: PyTree, key: Array, parts: int = 1
) -> tuple[State, dict[str, Array]]:
    """Runs one iteration of a stage that minimises one loss.

    Args:
        loss: the loss of this device's images.
        state: the state before the iteration.
        optimizers: the optimisers of all networks of the state.
        batch: arrays whose leading axis is this device's identities; the loss gets the whole batch or parts of it.
        key: the iteration's key.
        parts: the number of parts, as in `accumulate`.

    Returns:
        The new state, and the metrics averaged over devices and parts, with the `gradient_norms` of the averaged
        gradients.
    """

    def gradient(batch_stats, part, part_key):
        gradients, (metrics, batch_stats) = jax.grad(loss, has_aux=True)(state.params, batch_stats, part, part_key)
        return (gradients, metrics), batch_stats

    outputs, batch_stats = accumulate(gradient, state.batch_stats, batch, key, parts)
    gradients, metrics = parallel.mean(outputs)
    params, opt_state = optimizers.update(gradients, state.params, state.opt_state)
    state = dataclasses.replace(state, step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state)
    return state, metrics | gradient_norms(gradients)


def accumulate(
    function: Callable[[PyTree, PyTree, Array], tuple[PyTree, PyTree]],
    carry: PyTree,
    batch: PyTree,
    key: Array,
    parts: int,
) -> tuple[PyTree, PyTree]:
    """Averages a function over the parts of a batch. Parts run one after another, so memory is that of one part.

    BatchNorm normalises each part separately and updates its running statistics once per part. Pairs and negatives are
    chosen within a part.

    Args:
        function: (carry, part, key) -> (values to average, new carry).
        carry: the value passed from part to part.
        batch: arrays whose leading axis is this device's identities.
        key: the key from which every part gets its own.
        parts: the number of parts; 1 for the whole batch.

    Returns:
        The mean and the last carry.

    Raises:
        UserError: if the number of identities is not a multiple of `parts`.
    """
    if parts == 1:
        return function(carry, batch, key)

    def split(x):
        if len(x) % parts:
            raise UserError(
                f"the {len(x)} identities of a device cannot be split into {parts} parts; "
                f"set config.batch.parts to a divisor of {len(x)}."
            )
        return x.reshape(parts, -1, *x.shape[1:])

    def add(summed_and_carry, part_and_key):
        summed, carry = summed_and_carry
        values, carry = function(carry, *part_and_key)
        return (jax.tree.map(jnp.add, summed, values), carry), None

    inputs = jax.tree.map(split, batch), jax.random.split(key, parts)
    shapes, _ = jax.eval_shape(function, carry, *jax.tree.map(lambda x: x[0], inputs))
    zeros = jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), shapes)
    (summed, carry), _ = jax.lax.scan(add, (zeros, carry), inputs)
    return jax.tree.map(lambda x: x / parts, summed), carry
