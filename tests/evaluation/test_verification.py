"""Compares rates and thresholds with all pairs in one list, and with scikit-learn's ROC."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from rgbir_jax.datasets.search import Search, nothing_hidden, same_person_and_camera
from rgbir_jax.evaluation import distances
from rgbir_jax.evaluation.metrics import Images
from rgbir_jax.evaluation.verification import Roc, roc, verification
from tests.evaluation.test_evaluate import table


def sample(n: int, seed: int, people: int, whole_numbers: bool = False) -> Images:
    """Returns images of persons who are somewhat alike. Whole numbers make many distances equal."""
    rng = np.random.default_rng(seed)
    person_id = rng.integers(1, people + 1, n)
    feature = rng.normal(size=(people + 1, 4))[person_id] + rng.normal(size=(n, 4))
    return Images(np.round(feature) if whole_numbers else feature, person_id, rng.integers(1, 5, n))


def search(probes, galleries, hidden=nothing_hidden) -> Search:
    return Search("s", "a search", np.asarray(probes), tuple(map(np.asarray, galleries)), hidden, "identity")


def all_pairs(images: Images, of: Search) -> tuple[np.ndarray, np.ndarray]:
    """Lists (squared distance, whether it is one person) of all pairs, one by one."""
    union = sorted({int(row) for rows in of.galleries for row in rows})
    hidden = of.hidden(images[of.probes], images[np.array(union)])
    pairs = [(p, g) for i, p in enumerate(of.probes) for j, g in enumerate(union) if not hidden[i, j]]
    squared = [((images.feature[p] - images.feature[g]) ** 2).sum() for p, g in pairs]
    return np.array(squared), np.array([images.person_id[p] == images.person_id[g] for p, g in pairs])


@pytest.fixture(scope="module", params=[False, True], ids=["distinct", "ties"])
def pairs(request):
    """Returns (ROC, squared distances, whether it is one person) of a search whose galleries overlap."""
    images = sample(260, 1, people=12, whole_numbers=request.param)
    of = search(np.arange(80), [np.arange(80, 200), np.arange(150, 260)], same_person_and_camera)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "BLOCK", 700)
        curve = roc(images, of)
    return curve, *all_pairs(images, of)


def test_numbers_of_pairs(pairs):
    curve, _, same = pairs
    assert (curve.same_pairs, curve.different_pairs) == (same.sum(), (~same).sum())


@pytest.mark.parametrize("fpr", [0.5, 0.1, 1e-2, 2e-3])
def test_rates_are_the_best_that_any_threshold_gives(pairs, fpr):
    curve, squared, same = pairs
    rates = [(np.mean(squared[same] <= t), np.mean(squared[~same] <= t)) for t in np.unique(squared)]
    best = max(tpr for tpr, wrong in rates if wrong <= fpr)
    found = curve.at(fpr)
    assert found["tpr"] == best
    accepted = np.sqrt(squared) <= found["threshold"] * (1 + 1e-12)
    assert np.mean(accepted[same]) == best
    assert np.sum(accepted[~same]) == found["false_matches"] <= fpr * np.sum(~same)


def test_agrees_with_scikit_learn(pairs):
    curve, squared, same = pairs
    fpr, tpr, _ = roc_curve(same, -squared, drop_intermediate=False)
    for rate in (0.3, 0.05, 0.01):
        assert curve.at(rate)["tpr"] == tpr[np.flatnonzero(fpr <= rate)[-1]]
    # The equal error rate: where the polyline of the ROC crosses the line from (0, 1) to (1, 0).
    end = np.flatnonzero(fpr + tpr >= 1)[0]
    start = end - 1
    share = (1 - fpr[start] - tpr[start]) / (fpr[end] + tpr[end] - fpr[start] - tpr[start])
    assert curve.eer() == pytest.approx(fpr[start] + share * (fpr[end] - fpr[start]), abs=1e-12)


def test_ties_are_accepted_together():
    """One pair of one person has the distance of ten pairs of two persons."""
    feature = np.array([[0.0], *[[1.0]] * 11, *[[2.0]] * 20])
    person_id = np.array([1, 1, *[2] * 10, *[3] * 20])
    curve = roc(Images(feature, person_id, np.ones(32, int)), search([0], [np.arange(1, 32)]))
    assert (curve.same_pairs, curve.different_pairs) == (1, 30)
    assert curve.at(10 / 30) == {"tpr": 1.0, "threshold": pytest.approx(1), "false_matches": 10}
    assert curve.eer() == pytest.approx(1 / 4)  # the ROC rises from (0, 0) to (1/3, 1) in a straight line
    further = Images(np.where(person_id[:, None] == 1, 1.5 * feature, feature), person_id, np.ones(32, int))
    other = roc(further, search([0], [np.arange(1, 32)]))
    assert other.at(1 / 3) == {"tpr": 1.0, "threshold": pytest.approx(1.5), "false_matches": 10}
    assert other.eer() == pytest.approx(1 / 3)


@pytest.mark.parametrize("same_everywhere", [0.1, 0.1234, 0.0])
def test_distances_that_only_rounding_makes_different_are_ties(monkeypatch, same_everywhere):
    """All gallery images have the same numbers in another order, and the probe has one number everywhere."""
    rng = np.random.default_rng(0)
    gallery = np.stack([rng.permutation(np.arange(50) / 7) for _ in range(40)])
    probe = np.full((1, 50), same_everywhere)
    images = Images(np.concatenate([probe, gallery]), np.array([1, *[1, 2] * 20]), np.ones(41, int))
    assert len(np.unique(((gallery - probe) ** 2).sum(axis=1))) > 1
    for block in (1, 10, 2**22):
        monkeypatch.setattr(distances, "BLOCK", block)
        curve = roc(images, search([0], [np.arange(1, 41)]))
        assert curve.different.tolist() == [20]
        assert curve.closer.tolist() == [0]


def test_equal_images_are_at_the_same_distance():
    """0, although rounding may leave 1e-16 of it."""
    feature = np.random.default_rng(0).normal(size=(60, 512))
    feature = np.concatenate([feature, feature]).astype(np.float32)
    feature /= np.linalg.norm(feature, axis=1, keepdims=True)
    images = Images(feature, np.tile(np.arange(60), 2), np.ones(120, int))
    curve = roc(images, search(np.arange(60), [np.arange(60, 120)]))
    assert curve.same.tolist() == [60]
    assert curve.distance == pytest.approx([0], abs=1e-5)


def test_a_rate_of_too_few_pairs_is_left_out_with_the_reason():
    images = sample(40, 2, people=3)
    curve = roc(images, search(np.arange(10), [np.arange(10, 40)]))
    found = curve.at(1e-3)
    assert found["tpr"] is None
    pairs = curve.different_pairs
    assert found["reason"] == f"FPR 0.001 of {pairs} pairs of two persons is 0 pairs; 10 are needed"
    assert curve.at(10 / pairs)["tpr"] is not None
    assert curve.at(9.99 / pairs)["tpr"] is None
    one = np.array([1])
    assert Roc(np.ones(1), one, 0 * one, 0 * one, 9).eer() is None
    assert Roc(np.ones(1), one, 0 * one, 0 * one, 10).eer() == 0


def test_a_threshold_that_accepts_nobody():
    curve = Roc(np.array([5.0]), np.array([3]), np.array([60]), np.array([60]), 100)
    assert curve.at(0.2) == {"tpr": 0.0, "threshold": None, "false_matches": 0}
    assert curve.at(0.6)["tpr"] == 1


def test_the_figures_of_a_search():
    images = sample(400, 3, people=20)
    records = table(images.person_id, images.camera)
    of = search(np.arange(150), [np.arange(150, 400)])
    (figures,) = verification(images.feature, records, [of]).values()
    squared, same = all_pairs(images, of)
    assert figures["same_pairs"] == same.sum()
    assert list(figures["tpr_at_fpr"]) == ["0.01", "0.001", "0.0001"]
    assert figures["tpr_at_fpr"]["0.0001"]["tpr"] is None
    limit = np.sort(squared[~same])[int(1e-3 * np.sum(~same))]  # the closest pair of two persons that is one too many
    assert figures["tpr_at_fpr"]["0.001"]["tpr"] == np.mean(squared[same] < limit)
    curve = dict(zip(figures["roc"]["fpr"], figures["roc"]["tpr"], strict=True))
    assert curve[1.0] == 1
    assert curve[1e-4] is None
    known = [tpr for tpr in curve.values() if tpr is not None]
    assert known == sorted(known)
