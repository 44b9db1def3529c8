"""Bootstrap intervals over persons: all probes of a person are drawn together, because they are alike."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

DRAWS = 10_000


class Interval(NamedTuple):
    """A mean over probes and its 95% interval.

    Attributes:
        mean: the mean.
        low: the interval's lower end.
        high: its upper end.
        people: number of persons that were drawn from.
    """

    mean: float
    low: float
    high: float
    people: int


def interval(
    values: Float[np.ndarray, "n"], person: Shaped[np.ndarray, "n"], rng: np.random.Generator | None = None
) -> Interval:
    """Returns the mean of the probes' values and its interval. Differences of two systems make it a paired bootstrap.

    Args:
        values: one per probe; NaN for one that does not count. One probe at least counts.
        person: the person on each probe.
        rng: draws the persons; None: always the same draws.
    """
    counts_for = ~np.isnan(values)
    people, place = np.unique(person[counts_for], return_inverse=True)
    sums, counts = np.bincount(place, values[counts_for]), np.bincount(place)
    drawn = (rng or np.random.default_rng(0)).integers(len(people), size=(DRAWS, len(people)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(values[counts_for].mean()), float(low), float(high), len(people))
