"""An iteration's gradient, all at once or in parts for cards with little memory."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from rgbir_jax.training import parallel
from rgbir_jax.training.optimizers import Optimizers, gradient_norms
from rgbir_jax.training.state import State

# (params, batch_stats, batch, key) -> (value, (metrics, batch_stats))
Loss = Callable[[PyTree, PyTree, PyTree, Array], tuple]


def descend(
    loss: Loss, state: State, optimizers: Optimizers, batch: PyTree, key: Array, parts: int = 1
) -> tuple[State, dict[str, Array]]:
    """One iteration of a stage that minimises one loss.

    Args:
        loss: of this device's images.
        state: before the iteration.
        optimizers: of all its networks.
        batch: arrays with this device's identities in front; reaches the loss as it is, or in parts.
        key: of the iteration.
        parts: of `accumulate`.

    Returns:
        The state after it, and the metrics, averaged over devices and parts, with the `gradient_norms` of the averaged
        gradients.
    """

    def gradient(batch_stats, part, part_key):
        gradients, (metrics, batch_stats) = jax.grad(loss, has_aux=True)(state.params, batch_stats, part, part_key)
        return (gradients, metrics), batch_stats

    found, batch_stats = accumulate(gradient, state.batch_stats, batch, key, parts)
    gradients, metrics = parallel.mean(found)
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
    """The mean of a function over the parts of a batch, one after another: the memory of one part at a time.

    BatchNorm normalises each part by itself and moves its running statistics once a part; pairs and negatives are found
    within a part.

    Args:
        function: (carry, part, key) -> (what is averaged, new carry).
        carry: goes from part to part.
        batch: arrays with this device's identities in front.
        key: every part gets its own.
        parts: 1 for the batch as it is.

    Returns:
        The mean, and the last carry.

    Raises:
        ValueError: where the parts do not divide the identities.
    """
    if parts == 1:
        return function(carry, batch, key)

    def split(x):
        if len(x) % parts:
            raise ValueError(
                f"the {len(x)} identities of a device cannot be taken in {parts} parts; "
                f"set config.batch.parts to a divisor of {len(x)}."
            )
        return x.reshape(parts, -1, *x.shape[1:])

    def add(summed_and_carry, part_and_key):
        summed, carry = summed_and_carry
        found, carry = function(carry, *part_and_key)
        return (jax.tree.map(jnp.add, summed, found), carry), None

    inputs = jax.tree.map(split, batch), jax.random.split(key, parts)
    shapes, _ = jax.eval_shape(function, carry, *jax.tree.map(lambda x: x[0], inputs))
    zeros = jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), shapes)
    (summed, carry), _ = jax.lax.scan(add, (zeros, carry), inputs)
    return jax.tree.map(lambda x: x / parts, summed), carry
