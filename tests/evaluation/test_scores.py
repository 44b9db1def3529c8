"""The content of scores.json, and its scores as text."""

from pathlib import Path

import numpy as np
import pytest

from rgbir_jax.datasets import market1501
from rgbir_jax.evaluation import evaluate, scores
from tests.evaluation.test_evaluate import market_scores, table


def setting(**changes) -> dict:
    row = {
        "cmc": [0.25 + place / 100 for place in range(50)],
        "mAP": 0.125,
        "mINP": 0.0625,
        "std": {"rank1": 0.02, "mAP": 0.01},
        "trials": [{"rank1": 0.25, "mAP": 0.125}] * 10,
        "counted_probes": 7,
        "gallery_images": 5,
        "probe_images": 8,
    }
    return row | changes


def test_systems_are_the_entries_with_settings_in_their_order():
    content = {
        "protocol": "official",
        "dataset": "sysu_mm01",
        "steps": 20,
        "controls": ["m"],
        "reconstruction": {"l1": 0.3, "mean_image": 0.7},
        "chance": {"all_single": setting()},
        "teacher": {"all_single": setting()},
        "control": {"all_single": setting()},
        "trained": {"all_single": setting()},
        "m": {"all_single": setting()},
    }
    assert list(scores.systems(content)) == ["chance", "teacher", "control", "trained", "m"]
    assert scores.systems(content)["control"] is content["control"]
    assert scores.systems({"protocol": "official", "empty": {}}) == {}


def cells(text: str) -> tuple[str, list[list[str]]]:
    """Returns (headline, cells of the table's lines). `AP by` is one cell, and so is a figure with its deviation."""
    headline, *lines = text.splitlines()
    return headline, [line.replace(" ± ", "±").replace("AP by", "AP_by").split() for line in lines]


def test_the_table_names_the_form_of_ap():
    rows = {"trained": setting(), "market": setting(AP="trapezoid")}
    text = scores.table(rows, "official", "sysu_mm01, all_single")
    headline, (head, trained, market) = cells(text)
    assert headline == "sysu_mm01, all_single; protocol official; in %, mean ± standard deviation over 10 trials"
    assert head == ["rank-1", "rank-5", "rank-10", "rank-20", "AP_by", "mAP", "mINP", "gallery", "probes"]
    figures = ["25.00±2.00", "29.00", "34.00", "44.00", "hits", "12.50±1.00", "6.25", "5", "7"]
    assert trained == ["trained", *figures]
    assert market == ["market", *(figure if figure != "hits" else "trapezoid" for figure in figures)]
    assert len({len(line) for line in text.splitlines()[1:]}) == 1


def test_trials_that_cannot_differ_have_no_deviation():
    text = scores.table({"trained": setting(different_galleries=1), "other": setting()}, "official", "SYSU-MM01")
    headline, (_, same, other) = cells(text)
    assert headline.endswith("over 10 trials, which have the same gallery")
    assert (same[1], same[6]) == ("25.00±none", "12.50±none")
    assert (other[1], other[6]) == ("25.00±2.00", "12.50±1.00")


def test_the_table_of_market_1501():
    person_id, split = np.array([1, 1, 2]), np.array(["query", "gallery", "gallery"])
    settings = market_scores(np.eye(3), person_id, np.array([1, 2, 2]), split)
    text = scores.table(settings, "single_query", "market1501")
    headline, (_, trapezoid, hits) = cells(text)
    assert headline.endswith("in %, one trial")
    assert (trapezoid[0], trapezoid[5]) == ("single_query_trapezoid", "trapezoid")
    assert (hits[0], hits[5]) == ("single_query_hits", "hits")


def test_chance_keeps_the_name_of_the_ap_and_averages_the_figures(monkeypatch):
    values = iter([0.1, 0.2, 0.3, 0.4, 0.5])

    def score(features, records, searches):
        return {"single_query_trapezoid": setting(mAP=next(values), AP="trapezoid")}

    monkeypatch.setattr(evaluate, "evaluate", score)
    records = table([1, 1, 2], [1, 2, 2], split=["query", "gallery", "gallery"])
    search = market1501.searches(records, "single_query", Path())[0]
    (chance,) = evaluate.chance(records, [search]).values()
    assert chance["AP"] == "trapezoid"
    assert chance["mAP"] == pytest.approx(0.3)
    assert chance["counted_probes"] == 7
