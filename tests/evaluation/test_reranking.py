"""Compares re-ranking with the published example, and with a literal implementation of its description."""

import numpy as np
import pytest

from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import distances
from rgbir_jax.evaluation.reranking import Reranking, reranked

PROBES, GALLERY = [(0, 0), (6, 0)], [(1, 0), (0, 2), (5, 1), (7, 2), (3, 3)]


def matrix(probe, gallery, parameters: Reranking | None = None) -> np.ndarray:
    """Returns the new distances of all probes to the gallery."""
    feature = np.concatenate([probe, gallery])
    rows = np.arange(len(feature))
    return reranked(feature, rows[: len(probe)], rows[len(probe) :], parameters or Reranking())(slice(None))


@pytest.mark.parametrize(
    ("k1", "k2", "expected"),
    [
        (2, 1, [[0.022997, 0.070270, 0.847170, 1.0, 0.801887], [0.8875, 1.0, 0.052895, 0.095463, 0.835]]),
        (3, 2, [[0.005660, 0.057085, 0.809978, 1.0, 0.679785], [0.850308, 0.961043, 0.015, 0.171033, 0.521454]]),
    ],
)
def test_the_worked_examples(k1, k2, expected):
    found = matrix(np.array(PROBES, float), np.array(GALLERY, float), Reranking(k1, k2, 0.3))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def literal(feature: np.ndarray, probes, gallery, k1: int, k2: int, share: float) -> np.ndarray:
    """Re-ranks a list as its description does, with sets and a row and a column per image.

    `probes` and `gallery` are rows of the list.
    """
    n = len(feature)
    E = np.array([((feature - one) ** 2).sum(axis=1) for one in feature])
    E /= E.max(axis=1, keepdims=True)
    order = np.argsort(E, axis=1, kind="stable")
    first = {k: [set(order[i, : k + 1].tolist()) for i in range(n)] for k in (k1, round(k1 / 2))}
    mutual = {k: [{j for j in first[k][i] if i in first[k][j]} for i in range(n)] for k in first}
    V = np.zeros((n, n))
    for i in range(n):
        R = mutual[k1][i]
        expanded = set(R)
        for j in R:
            H = mutual[round(k1 / 2)][j]
            if len(H & R) > 2 / 3 * len(H):
                expanded |= H
        for j in expanded:
            V[i, j] = np.exp(-E[i, j])
        V[i] /= V[i].sum()
    if k2 > 1:
        V = np.array([V[order[i, :k2]].mean(axis=0) for i in range(n)])
    of_gallery = V[gallery]
    shared = np.array([np.minimum(V[i, V[i] > 0], of_gallery[:, V[i] > 0]).sum(axis=1) for i in probes])
    return (1 - share) * (1 - shared / (2 - shared)) + share * E[np.ix_(probes, gallery)]


def people(n: int, seed: int, dim: int = 8) -> np.ndarray:
    """Returns unit features in clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(n // 8, 1), dim))
    feature = centres[rng.integers(len(centres), size=n)] + 0.5 * rng.normal(size=(n, dim))
    return feature / np.linalg.norm(feature, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("n_q", "n_g", "k1", "k2", "share"),
    [(30, 120, 20, 6, 0.3), (12, 50, 5, 3, 0.0), (7, 20, 7, 1, 0.5), (3, 4, 20, 6, 0.3), (40, 90, 3, 9, 0.1)],
)
def test_agrees_with_the_literal_implementation(n_q, n_g, k1, k2, share, monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 500)  # several blocks of rows and of weights
    feature = people(n_q + n_g, seed=k1)
    found = matrix(feature[:n_q], feature[n_q:], Reranking(k1, k2, share))
    np.testing.assert_allclose(found, literal(feature, range(n_q), range(n_q, n_q + n_g), k1, k2, share), atol=1e-12)


def test_agrees_with_the_literal_implementation_at_moderate_size():
    feature = people(2300, seed=0, dim=16)
    found = matrix(feature[:300], feature[300:])
    np.testing.assert_allclose(found, literal(feature, range(300), range(300, 2300), 20, 6, 0.3), atol=1e-12)


def test_some_probes_at_a_time_and_images_on_both_sides():
    """An image that is a probe and in the gallery is in the list once."""
    feature = people(60, seed=3)
    new = reranked(feature, np.arange(40), np.arange(20, 60), Reranking(4, 2))
    whole = new(slice(None))
    np.testing.assert_allclose(new(slice(10, 17)), whole[10:17], atol=1e-12)
    np.testing.assert_allclose(whole, literal(feature, range(40), range(20, 60), 4, 2, 0.3), atol=1e-12)


def test_with_the_plain_distance_only_the_order_is_the_plain_one():
    feature = people(80, seed=1)
    squared = ((feature[:20, None] - feature[20:]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(
        np.argsort(matrix(feature[:20], feature[20:], Reranking(original=1.0)), axis=1), np.argsort(squared, axis=1)
    )


def test_a_permuted_gallery_permutes_the_columns():
    feature, order = people(80, seed=2), np.random.default_rng(0).permutation(60)
    probe, gallery = feature[:20], feature[20:]
    np.testing.assert_allclose(matrix(probe, gallery[order]), matrix(probe, gallery)[:, order], atol=1e-12)


def test_distances_are_from_0_to_1_and_identical_images_are_at_0():
    feature = people(100, seed=4)
    feature[30] = feature[3]
    found = matrix(feature[:20], feature[20:])
    assert found.min() >= 0
    assert found.max() <= 1
    assert found[3, 10] == pytest.approx(0, abs=1e-9)


def test_features_that_have_collapsed_are_all_as_near():
    found = matrix(np.ones((5, 3)), np.ones((40, 3)))
    assert np.isfinite(found).all()


def test_the_label_names_the_parameters():
    assert str(Reranking()) == "re-ranked (k1 20, k2 6, λ 0.3)"
    for wrong in ({"k1": 0}, {"k2": 0}, {"original": 1.5}):
        with pytest.raises(UserError, match="is not possible"):
            Reranking(**wrong)
