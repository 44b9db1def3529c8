"""Compares ranks with a plain loop over probes: ties, hidden images, several galleries and small chunks."""

import numpy as np
import pytest

from rgbir_jax.evaluation import distances, metrics
from rgbir_jax.evaluation.metrics import Images


def images(n: int, seed: int, people: int = 7) -> Images:
    """Returns images with whole-number features: distances are exact and many are equal."""
    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (n, 4)).astype(np.float32)
    return Images(features, rng.integers(1, people + 1, n), rng.integers(1, 5, n))


def hide_same_camera(probe: Images, gallery: Images) -> np.ndarray:
    return (probe.person_id[:, None] == gallery.person_id) & (probe.camera[:, None] == gallery.camera)


def hide_nothing(probe: Images, gallery: Images) -> np.ndarray:
    return np.zeros((len(probe), len(gallery)), bool)


def slow(probe, gallery, rows, hidden, unit):
    """Computes (first, AP at hits, AP by trapezoids, INP) of each probe, None if it does not count."""
    rows = np.sort(rows)
    results = []
    for p in range(len(probe)):
        visible = [r for r in rows if not hidden(probe[p : p + 1], gallery[r : r + 1])[0, 0]]
        distance = [float(np.sum((probe.feature[p] - gallery.feature[r]) ** 2)) for r in visible]
        people = [gallery.person_id[visible[k]] for k in sorted(range(len(visible)), key=lambda k: distance[k])]
        places = [k for k, person in enumerate(people) if person == probe.person_id[p]]
        if not places:
            results.append(None)
            continue
        precisions = [(n + 1) / (k + 1) for n, k in enumerate(places)]
        ranked = list(dict.fromkeys(people)) if unit == "identity" else people
        first = ranked.index(probe.person_id[p])
        results.append((first, np.mean(precisions), trapezoids(places), len(places) / (places[-1] + 1)))
    return results


def trapezoids(places):
    """Computes the area under the precision-recall curve point by point: recall from 0 to 1 in steps of one hit."""
    area, recall, precision = 0.0, 0.0, 1.0
    for rank in range(1, places[-1] + 2):
        hits = sum(place < rank for place in places)
        area += (hits / len(places) - recall) * (precision + hits / rank) / 2
        recall, precision = hits / len(places), hits / rank
    return area


@pytest.mark.parametrize("unit", ["identity", "image"])
@pytest.mark.parametrize("hidden", [hide_nothing, hide_same_camera])
def test_agrees_with_a_plain_loop(monkeypatch, unit, hidden):
    monkeypatch.setattr(metrics, "MAX_ROWS", 5)
    probe, gallery = images(33, seed=1, people=9), images(60, seed=2)
    rng = np.random.default_rng(3)
    galleries = [rng.permutation(60)[:size] for size in (1, 4, 30, 30, 25, 41, 7, 60, 3, 12, 20, 60)]
    ranked = metrics.rank(probe, gallery, galleries, hidden, unit, trapezoid=True)
    for rows, ranks in zip(galleries, ranked, strict=True):
        expected = slow(probe, gallery, rows, hidden, unit)
        assert ranks.counted.tolist() == [figures is not None for figures in expected]
        figures = np.array([figures for figures in expected if figures is not None]).reshape(-1, 4)
        counted = ranks.select(ranks.counted)
        np.testing.assert_array_equal(counted.first, figures[:, 0])
        np.testing.assert_allclose(counted.average_precision, figures[:, 1], rtol=1e-12)
        np.testing.assert_allclose(counted.trapezoid, figures[:, 2], rtol=1e-12)
        assert counted.trapezoid is not None
        # The precision just before a hit is not higher.
        assert np.all(counted.trapezoid <= counted.average_precision + 1e-12)
        np.testing.assert_allclose(counted.inverse_penalty, figures[:, 3], rtol=1e-12)


def one_list(places: list[int], length: int) -> metrics.Ranks:
    """Returns the ranks of one probe whose person is at these places (from 0) in a gallery of this length."""
    person = np.where(np.isin(np.arange(length), places), 1, 2)
    gallery = Images(np.arange(length, dtype=float)[:, None], person, np.ones(length, int))
    probe = Images(np.zeros((1, 1)), np.array([1]), np.array([2]))
    return metrics.rank(probe, gallery, [np.arange(length)], hide_nothing, "image", trapezoid=True)[0]


@pytest.mark.parametrize(
    ("places", "hits", "trapezoid"),
    [
        ([0], 1, 1),
        ([0, 1, 2], 1, 1),
        ([1], 1 / 2, (0 + 1 / 2) / 2),
        ([3], 1 / 4, (0 + 1 / 4) / 2),
        ([0, 2], (1 + 2 / 3) / 2, ((1 + 1) / 2 + (1 / 2 + 2 / 3) / 2) / 2),
        ([1, 3], (1 / 2 + 2 / 4) / 2, ((0 + 1 / 2) / 2 + (1 / 3 + 2 / 4) / 2) / 2),
    ],
)
def test_both_forms_of_ap_by_hand(places, hits, trapezoid):
    ranks = one_list(places, 6)
    assert ranks.average_precision == pytest.approx([hits])
    assert ranks.trapezoid == pytest.approx([trapezoid])


def test_trapezoids_are_computed_only_on_request():
    (ranks,) = metrics.rank(images(3, seed=1), images(9, seed=2), [np.arange(9)], hide_nothing, "image")
    assert ranks.trapezoid is None
    assert ranks.select(ranks.counted).trapezoid is None


def test_equal_images_keep_the_gallery_s_order():
    feature = np.random.default_rng(0).normal(size=(1, 512))
    gallery = Images(np.repeat(feature, 40, axis=0), np.repeat([1, 2], 20), np.ones(40, int))
    probe = Images(np.random.default_rng(1).normal(size=(2, 512)), np.array([1, 2]), np.full(2, 3))
    (ranks,) = metrics.rank(probe, gallery, [np.arange(40)], hide_nothing, "image")
    assert ranks.first.tolist() == [0, 20]
    np.testing.assert_allclose(ranks.inverse_penalty, [1, 20 / 40])


def test_memory_bound_decides_the_chunks_and_not_the_result(monkeypatch):
    probe, gallery = images(50, seed=4), images(80, seed=5)
    whole = metrics.rank(probe, gallery, [np.arange(80)], hide_nothing, "identity")[0]
    monkeypatch.setattr(distances, "DISTANCES", 1)
    single = metrics.rank(probe, gallery, [np.arange(80)], hide_nothing, "identity")[0]
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


def test_summary_averages_the_requested_form_of_ap():
    first, counted = np.array([0, 2, 0]), np.array([True, True, False])
    ranks = metrics.Ranks(first, np.array([1.0, 0.5, 0.9]), np.ones(3), counted, np.array([1.0, 0.3, 0.8]))
    hits, trapezoid = metrics.summarise([ranks, ranks]), metrics.summarise([ranks, ranks], "trapezoid")
    assert hits["mAP"] == pytest.approx(0.75)
    assert trapezoid["mAP"] == pytest.approx(0.65)
    assert trapezoid["trials"] == [{"rank1": 0.5, "mAP": pytest.approx(0.65)}] * 2
    same = set(hits) - {"mAP", "trials"}
    assert {name: hits[name] for name in same} == {name: trapezoid[name] for name in same}


def test_no_counted_probe_is_an_error():
    with pytest.raises(ValueError, match="No probe has a match"):
        metrics.summarise([ranks_of([0], [0.0], [False])])
