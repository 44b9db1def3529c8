"""Thresholds: found in pairs of validation identities, looked up by rate."""

import json

import numpy as np
import pytest

from rgbir_jax.datasets.search import Search, nothing_hidden
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.benchmark import Benchmark
from rgbir_jax.evaluation.thresholds import FILE, Thresholds
from tests.evaluation.test_evaluate import table


def found(people: int, noise: float = 0.5) -> tuple[Thresholds, np.ndarray, np.ndarray]:
    """Returns (thresholds, distances of the pairs, whether it is one person)."""
    records = table(np.repeat(np.arange(people), 8), np.tile([1, 1, 2, 4, 3, 3, 6, 6], people))
    rng = np.random.default_rng(0)
    feature = rng.normal(size=(people, 6))[records.person_id] + noise * rng.normal(size=(len(records), 6))
    probes, gallery = np.flatnonzero(records.modality == 1), np.flatnonzero(records.modality == 0)
    search = Search("s", "a search", probes, (gallery,), nothing_hidden, "identity")
    thresholds = Thresholds.of(
        feature, Benchmark(np.arange(len(records)), records, [search]), stage="teacher", steps=7, dataset="D"
    )
    distance = np.linalg.norm(feature[probes, None] - feature[gallery], axis=2)
    return thresholds, distance, records.person_id[probes, None] == records.person_id[gallery]


@pytest.mark.parametrize("fpr", [0.1, 0.01, 1e-3])
def test_a_threshold_keeps_its_rate(fpr):
    thresholds, distance, same = found(30)
    accepted = distance <= thresholds.at(fpr)
    assert np.mean(accepted[~same]) <= fpr
    assert np.mean(accepted[~same]) > fpr / 2
    assert np.mean(accepted[same]) == pytest.approx(thresholds.rates[f"{fpr:g}"]["tpr"])
    assert (thresholds.people, thresholds.same_pairs, thresholds.different_pairs) == (30, same.sum(), (~same).sum())
    assert (thresholds.probe, thresholds.gallery) == (["ir"], ["rgb"])


def test_a_rate_between_two_takes_the_lower_one():
    thresholds, *_ = found(30)
    assert thresholds.at(0.0099) == thresholds.at(0.005) < thresholds.at(0.01)


def test_a_rate_of_too_few_pairs_is_refused_with_the_smallest_that_can_be():
    thresholds, *_ = found(10)  # 1,440 pairs of two persons: 0.01 is 14 of them
    pairs = r"1,440 pairs of two persons \(10 people of D\)"
    text = rf"a false positive rate of 0.001 cannot be found from {pairs}: .*; the smallest rate that can be is 0.01\."
    with pytest.raises(UserError, match=text):
        thresholds.at(1e-3)
    few, *_ = found(2)
    with pytest.raises(
        UserError, match=r"cannot be found from 32 pairs .*: it takes 10 of them that are closer; the sm"
    ):
        few.at(0.1)
    one, *_ = found(1)
    with pytest.raises(UserError, match=r"cannot be found from 0 pairs .* that are closer\.$"):
        one.at(0.1)
    for wrong in (0.0, 1.0, -1.0, 2.0):
        with pytest.raises(
            UserError, match=rf"a false positive rate is between 0 and 1, such as 0.001; {wrong:g} is none"
        ):
            thresholds.at(wrong)


def test_a_run_that_recognises_nobody_has_no_threshold():
    thresholds, *_ = found(30, noise=0)
    blind = {"tpr": 0.0, "threshold": None, "false_matches": 0}
    with pytest.raises(UserError, match=r"at a false positive rate of 0.01 the run recognises nobody"):
        Thresholds(**thresholds.content() | {"rates": {"0.01": blind}}).at(0.01)


def test_the_file(tmp_path):
    thresholds, *_ = found(30)
    (tmp_path / FILE).write_text(json.dumps(thresholds.content()))
    assert Thresholds.read(tmp_path / FILE) == thresholds
    whole = thresholds.content()
    changes: list[dict] = [{"other": 1}, {"people": "30"}, {"rates": []}, {"rates": {"few": {"threshold": 1.0}}}]
    changes += [{"rates": {"0.1": figures}} for figures in ({}, {"threshold": "1"}, 1.0)]
    for content in ("", "{}", *(json.dumps(whole | change) for change in changes)):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(UserError, match=f"{FILE} is damaged"):
            Thresholds.read(tmp_path / FILE)
