"""Bootstrap intervals over persons."""

import numpy as np
import pytest

from rgbir_jax.evaluation.bootstrap import interval


def test_the_interval_is_over_persons():
    """Probes of one person are drawn together: copies of a person's probes make nothing more certain."""
    of_person = np.random.default_rng(1).normal(size=40)
    once = interval(of_person, np.arange(40))
    often = interval(np.repeat(of_person, 5), np.repeat(np.arange(40), 5))
    assert once == pytest.approx(often)
    assert once.mean == pytest.approx(of_person.mean())
    assert once.people == 40
    # 95% of a normal distribution: 1.96 standard errors on each side
    assert once.high - once.low == pytest.approx(2 * 1.96 * of_person.std() / np.sqrt(40), rel=0.05)


def test_probes_that_do_not_count_are_left_out():
    values, person = np.array([1.0, np.nan, 3.0, np.nan]), np.array([5, 5, 6, 7])
    found = interval(values, person)
    assert (found.mean, found.low, found.high, found.people) == (2, 1, 3, 2)


def test_a_person_with_more_probes_counts_for_more():
    """Two persons: of four draws one has the first twice, one the second twice, and two have both."""
    found = interval(np.array([0.0, 1.0, 1.0, 1.0]), np.array([1, 2, 2, 2]))
    assert (found.mean, found.low, found.high) == (0.75, 0, 1)
