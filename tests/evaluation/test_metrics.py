"""Ranks against one plain loop over probes, with ties, hidden images, several galleries and small chunks."""

import numpy as np
import pytest

from rgbir_jax.evaluation import metrics
from rgbir_jax.evaluation.metrics import Images


def images(n: int, seed: int, people: int = 7) -> Images:
    """Whole-number features: distances are exact and many are equal."""
    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (n, 4)).astype(np.float32)
    return Images(features, rng.integers(1, people + 1, n), rng.integers(1, 5, n))


def same_camera(probe: Images, gallery: Images) -> np.ndarray:
    return (probe.person_id[:, None] == gallery.person_id) & (probe.camera[:, None] == gallery.camera)


def nothing(probe: Images, gallery: Images) -> np.ndarray:
    return np.zeros((len(probe), len(gallery)), bool)


def slow(probe, gallery, rows, hidden, unit):
    """(first, average precision, INP) of each probe, None where it does not count."""
    rows = np.sort(rows)
    results = []
    for p in range(len(probe)):
        seen = [r for r in rows if not hidden(probe[p : p + 1], gallery[r : r + 1])[0, 0]]
        distance = [float(np.sum((probe.feature[p] - gallery.feature[r]) ** 2)) for r in seen]
        people = [gallery.person_id[seen[k]] for k in sorted(range(len(seen)), key=lambda k: distance[k])]
        places = [k for k, person in enumerate(people) if person == probe.person_id[p]]
        if not places:
            results.append(None)
            continue
        precisions = [(n + 1) / (k + 1) for n, k in enumerate(places)]
        ranked = list(dict.fromkeys(people)) if unit == "identity" else people
        first = ranked.index(probe.person_id[p])
        results.append((first, sum(precisions) / len(precisions), len(places) / (places[-1] + 1)))
    return results


@pytest.mark.parametrize("unit", ["identity", "image"])
@pytest.mark.parametrize("hidden", [nothing, same_camera])
def test_agrees_with_a_plain_loop(monkeypatch, unit, hidden):
    monkeypatch.setattr(metrics, "MAX_ROWS", 5)
    probe, gallery = images(33, seed=1, people=9), images(60, seed=2)
    rng = np.random.default_rng(3)
    galleries = [rng.permutation(60)[:size] for size in (1, 4, 30, 30, 25, 41, 7, 60, 3, 12, 20, 60)]
    for rows, ranks in zip(galleries, metrics.rank(probe, gallery, galleries, hidden, unit), strict=True):
        expected = slow(probe, gallery, rows, hidden, unit)
        assert ranks.counted.tolist() == [figures is not None for figures in expected]
        figures = np.array([figures for figures in expected if figures is not None]).reshape(-1, 3)
        kept = ranks.select(ranks.counted)
        np.testing.assert_array_equal(kept.first, figures[:, 0])
        np.testing.assert_allclose(kept.average_precision, figures[:, 1], rtol=1e-12)
        np.testing.assert_allclose(kept.inverse_penalty, figures[:, 2], rtol=1e-12)


def test_equal_images_keep_the_gallery_s_order():
    feature = np.random.default_rng(0).normal(size=(1, 512))
    gallery = Images(np.repeat(feature, 40, axis=0), np.repeat([1, 2], 20), np.ones(40, int))
    probe = Images(np.random.default_rng(1).normal(size=(2, 512)), np.array([1, 2]), np.full(2, 3))
    (ranks,) = metrics.rank(probe, gallery, [np.arange(40)], nothing, "image")
    assert ranks.first.tolist() == [0, 20]
    np.testing.assert_allclose(ranks.inverse_penalty, [1, 20 / 40])


def test_memory_bound_decides_the_chunks_and_not_the_result(monkeypatch):
    probe, gallery = images(50, seed=4), images(80, seed=5)
    whole = metrics.rank(probe, gallery, [np.arange(80)], nothing, "identity")[0]
    monkeypatch.setattr(metrics, "DISTANCES", 1)
    single = metrics.rank(probe, gallery, [np.arange(80)], nothing, "identity")[0]
    np.testing.assert_array_equal(whole.first, single.first)
    np.testing.assert_array_equal(whole.average_precision, single.average_precision)


def ranks_of(first: list[int], precision: list[float], counted: list[bool]) -> metrics.Ranks:
    return metrics.Ranks(np.array(first), np.array(precision), np.array(precision) / 2, np.array(counted))


def test_summary_averages_over_counted_probes_then_over_trials():
    scores = metrics.summarise(
        [
            ranks_of([0, 2, 0], [1.0, 0.5, 0.0], [True, True, False]),
            ranks_of([0, 0, 7], [1.0, 1.0, 0.7], [True, True, True]),
        ]
    )
    assert scores["cmc"][0] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores["cmc"][2] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["cmc"][7] == 1
    assert scores["mAP"] == pytest.approx((0.75 + 0.9) / 2)
    assert scores["mINP"] == pytest.approx((0.75 + 0.9) / 4)
    assert scores["std"] == {"rank1": pytest.approx((2 / 3 - 1 / 2) / 2), "mAP": pytest.approx(0.075)}
    assert scores["trials"][1] == {"rank1": pytest.approx(2 / 3), "mAP": pytest.approx(0.9)}
    assert scores["counted_probes"] == 2


def test_no_counted_probe_is_an_error():
    with pytest.raises(ValueError, match="No probe has a match"):
        metrics.summarise([ranks_of([0], [0.0], [False])])
