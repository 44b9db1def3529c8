"""DEEN's losses against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.losses import expansion


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def distance(a, b):
    return np.sqrt(((a - b) ** 2).sum())


def hinge(negatives, positives, margin):
    return np.mean([max(0, p - n + margin) for n, p in zip(negatives, positives, strict=True)])


def slow_pair_mining(c1, c2, c3, c4, margin, held=None):
    """Computes the loss from the centres of RGB and IR embeddings (c1, c2) and of their expansions (c3, c4).

    `held` has the values of the two distances whose gradient is stopped.
    """
    people = range(len(c1))
    d13, d24 = held or ([distance(c1[i], c3[i]) for i in people], [distance(c2[i], c4[i]) for i in people])
    d23, d14 = ([distance(a[i], b[i]) for i in people] for a, b in ((c2, c3), (c1, c4)))
    nearest = [[min(distance(c[i], c[j]) for j in people if j != i) for i in people] for c in (c1, c2, c3, c4)]
    first = hinge(d13, d23, margin) + hinge(nearest[2], d23, margin) / 2 + hinge(nearest[0], d23, margin) / 2
    second = hinge(d24, d14, margin) + hinge(nearest[3], d14, margin) / 2 + hinge(nearest[1], d14, margin) / 2
    return (first + second) / 2


@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_pair_mining_and_its_gradient_are_those_of_plain_loops(margin):
    centres = np.random.default_rng(4).normal(size=(4, 5, 3))
    loss = jax.jit(lambda c: expansion.pair_mining(*c, margin))
    assert loss(centres) == pytest.approx(slow_pair_mining(*centres, margin), rel=1e-12)
    c1, c2, c3, c4 = centres
    held = (
        [distance(*pair) for pair in zip(c1, c3, strict=True)],
        [distance(*pair) for pair in zip(c2, c4, strict=True)],
    )
    gradient, step = jax.jit(jax.grad(loss))(jnp.asarray(centres)), 1e-6
    for place in np.ndindex(centres.shape):
        up, down = centres.copy(), centres.copy()
        up[place] += step
        down[place] -= step
        slope = (slow_pair_mining(*up, margin, held) - slow_pair_mining(*down, margin, held)) / (2 * step)
        assert gradient[place] == pytest.approx(slope, abs=1e-7)


def test_pair_mining_of_two_people_computed_by_hand():
    """All distances between centres of one person are 0 or 2, those to the other one are 10 or more."""
    v = jnp.array([[0.0, 0], [10, 0]])
    assert expansion.pair_mining(v, v, v, v, 0.2) == pytest.approx(0.2)  # across 0, within 0, others at 10
    t = v.at[:, 1].set(2.0)
    # From v' = v to t 2, to v 0; from t' = t to v 2, to t 0: 2 - 0 + 0.2 in both directions.
    assert expansion.pair_mining(v, t, v, t, 0.2) == pytest.approx(2.2)
    # Expansions that exchange the modalities: 0 across, 2 within.
    assert expansion.pair_mining(v, t, t, v, 0.2) == 0
    # With others at 1: the two halves of 2 - 1 + 0.2 come in.
    near = jnp.array([[0.0, 0], [1, 0]])
    assert expansion.pair_mining(near, near.at[:, 1].set(2.0), near, near.at[:, 1].set(2.0), 0.2) == pytest.approx(3.4)


def test_overlap_computed_by_hand():
    assert expansion.overlap(jnp.array([[0.6, 0.8]]), jnp.array([[0.0, 1]])) == pytest.approx(0.266667, abs=1e-6)
    x, y = np.random.default_rng(0).normal(size=(2, 6, 4))
    by_hand = sum(float(a @ b) for a, b in zip(x, y, strict=True)) / 18
    assert expansion.overlap(jnp.asarray(x), jnp.asarray(y)) == pytest.approx(by_hand, rel=1e-12)
