"""Where a search fails, compared with a plain loop over probes."""

import dataclasses

import numpy as np
import pytest

from rgbir_jax.datasets.search import Search
from rgbir_jax.datasets.sysu_mm01 import same_place
from rgbir_jax.evaluation import distances
from rgbir_jax.evaluation.failures import camera_pairs, rank_histogram
from tests.evaluation.test_evaluate import table


def slow(features, records, search):
    """Returns {(probe camera, gallery camera): [found alone, wrong nearest]} and the number of probes by camera."""
    alone, wrong, probes = {}, {}, {}
    for gallery in search.galleries:
        for p in search.probes:
            own = records.camera[p]
            seen = [g for g in gallery if not (own == 3 and records.camera[g] == 2)]
            seen.sort(key=lambda g: np.linalg.norm(features[g] - features[p]))
            probes[own] = probes.get(own, 0) + 1
            if records.person_id[seen[0]] != records.person_id[p]:
                pair = own, records.camera[seen[0]]
                wrong[pair] = wrong.get(pair, 0) + 1
            for camera in set(records.camera[seen]):
                people = [records.person_id[g] for g in seen if records.camera[g] == camera]
                if records.person_id[p] in people:
                    alone.setdefault((own, camera), []).append(people[0] == records.person_id[p])
    return alone, wrong, probes


def test_pairs_of_cameras_agree_with_a_plain_loop(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 50)
    rng = np.random.default_rng(0)
    records = table(rng.integers(1, 9, 160), rng.choice([1, 2, 3, 4, 6], 160))
    features = rng.normal(size=(9, 4))[records.person_id] + rng.normal(size=(160, 4))
    rgb = np.flatnonzero(records.modality == 0)
    galleries = tuple(np.sort(rng.choice(rgb, 30, replace=False)) for _ in range(3))
    search = Search("s", "a search", np.flatnonzero(records.modality == 1), galleries, same_place, "identity")
    pairs = camera_pairs(features, records, search)
    assert pairs.probe.tolist() == [3, 6]
    assert pairs.gallery.tolist() == [1, 2, 4]
    alone, wrong, probes = slow(features, records, search)
    for p, own in enumerate(pairs.probe):
        for g, camera in enumerate(pairs.gallery):
            if (own, camera) == (3, 2):
                assert np.isnan(pairs.rank1[p, g])
                assert np.isnan(pairs.wrong[p, g])
                continue
            found = alone[own, camera]
            assert (pairs.rank1[p, g], pairs.probes[p, g]) == (pytest.approx(np.mean(found)), len(found))
            assert pairs.wrong[p, g] == pytest.approx(wrong.get((own, camera), 0) / probes[own])
    one = dataclasses.replace(search, galleries=(rgb[records.camera[rgb] == 4],))
    assert camera_pairs(features, records, one).gallery.tolist() == [4]


def test_the_histogram_of_ranks_is_the_rise_of_the_cmc():
    first = np.array([0, 0, 1, 4, 5, 9, 10, 25, 49, 50, 200])
    cmc = [np.mean(first < k) for k in range(1, 51)]
    shares = rank_histogram(cmc)
    counts = {"1": 2, "2–5": 2, "6–10": 2, "11–20": 1, "21–50": 2, "later": 2}
    assert {name: round(share * len(first)) for name, share in shares.items()} == counts
