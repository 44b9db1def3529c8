"""Hi-CMD's triplet loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.losses.similarity import cosine_triplet


def unit(*rows):
    x = np.array(rows, np.float64)
    return jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), jnp.float32)


def labels(*y):
    return jnp.array(y, jnp.int32)


TARGETS = ((1, 0), (3, 4), (0, 1), (4, 3))


def test_cosine_triplet_by_hand():
    """Both pivots: n 0.8 and q 0.6, so 0.7 of the hinge and 1.8² + 0.4² of the squares."""
    loss = cosine_triplet(unit((1, 0), (0, 1)), labels(0, 1), unit(*TARGETS), labels(0, 0, 1, 1), 0.5)
    np.testing.assert_allclose(loss, [4.1, 4.1], rtol=1e-6)


def test_cosine_triplet_in_words():
    """Compares with plain loops: the nearest target of another identity, the farthest of the same."""
    rng = np.random.default_rng(0)
    y, y_targets = (0, 1, 2, 0), (0, 0, 1, 1, 2, 2, 3)
    pivots, targets = unit(*rng.normal(size=(4, 3))), unit(*rng.normal(size=(7, 3)))
    expected = []
    for pivot, own in zip(np.float64(pivots), y, strict=True):
        cosines = [sum(pivot * target) for target in np.float64(targets)]
        n = max(c for c, other in zip(cosines, y_targets, strict=True) if other != own)
        q = min(c for c, other in zip(cosines, y_targets, strict=True) if other == own)
        expected.append(max(0, n + 0.5 - q) + (1 + n) ** 2 + (1 - q) ** 2)
    loss = cosine_triplet(pivots, labels(*y), targets, labels(*y_targets), margin=0.5)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_gradient_comes_from_the_two_targets_that_count():
    def loss(targets):
        return cosine_triplet(unit((1, 0)), labels(0), targets, labels(0, 0, 1, 1), 0.5).sum()

    # d/dn = 1 + 2 (1 + n) = 4.6 and d/dq = -1 - 2 (1 - q) = -1.8, along the pivot.
    np.testing.assert_allclose(jax.grad(loss)(unit(*TARGETS)), [[0, 0], [-1.8, 0], [0, 0], [4.6, 0]], rtol=1e-5)


def test_opposite_strangers_and_equal_images_cost_nothing():
    loss = cosine_triplet(unit((1, 0)), labels(5), unit((1, 0), (-1, 0)), labels(5, 6), margin=0.5)
    assert loss == pytest.approx(0.0)
