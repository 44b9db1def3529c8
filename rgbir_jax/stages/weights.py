"""The weight of each loss term as a function of the iteration, and L_total."""

import jax.numpy as jnp
import optax
from jaxtyping import Array
from ml_collections import ConfigDict

from rgbir_jax.errors import UserError
from rgbir_jax.training.optimizers import Schedule


def weight_schedules(weights: ConfigDict, ramp: ConfigDict | None = None) -> dict[str, Schedule]:
    """Makes schedules of the terms whose weight is not zero, by the term's symbol.

    Args:
        weights: the final weight of each term.
        ramp: the terms that start late. `slope` has them by symbol; the weight of each is 0 until iteration `start` and
            then grows by its slope each iteration, up to the final weight (section 4.2: L_dis and L_code are added once
            generation is stable).

    Raises:
        UserError: if the ramp names a term that has no weight, or for a weight or a slope below zero.
    """
    start, slope = (ramp.start, dict(ramp.slope)) if ramp else (0, {})
    if unknown := slope.keys() - weights.keys():
        raise UserError(f"ramp.slope names {', '.join(sorted(unknown))}; the terms are {', '.join(weights)}.")

    if wrong := [term for term in weights if weights[term] < 0 or slope.get(term, 1) <= 0]:
        raise UserError(f"{wrong[0]} has a weight below 0 or a slope that is not above 0; the weight 0 removes a term.")

    def schedule(term: str, final: float) -> Schedule:
        if term not in slope:
            return optax.constant_schedule(final)
        return optax.linear_schedule(0.0, final, max(round(final / slope[term]), 1), transition_begin=start)

    return {term: schedule(term, final) for term, final in weights.items() if final}


def total(terms: dict[str, Array], weights: dict[str, Schedule], step: Array) -> Array:
    """Returns the weighted sum of the given terms at an iteration; of all terms it is L_total."""
    return sum((weights[term](step) * value for term, value in terms.items()), start=jnp.zeros(()))
