"""Drawn data, training, scoring and report, from end to end."""

import json
from pathlib import Path

import numpy as np
import pytest

from rgbir_jax.commands import describe, recipe, report, scoring
from rgbir_jax.datasets.sysu_mm01 import read as read_sysu_mm01
from rgbir_jax.evaluation.scores import comparison, systems, tables
from rgbir_jax.run import load
from tests.end_to_end.recipe import get_config

SYSTEMS = {"chance", "raw_pixels", "untrained", "teacher", "control", "trained"}
SETTINGS = {"all_single", "all_multi", "indoor_single", "indoor_multi"}


@pytest.fixture(scope="module")
def run(drawn, tmp_path_factory):
    """Trains and scores the tiny quickstart. Returns (workdir, Scored)."""
    config = get_config("teacher,control,image")
    config.data_dir = str(drawn)
    workdir = str(tmp_path_factory.mktemp("runs") / "quickstart")
    recipe.train(config, workdir)
    return workdir, scoring.score(load(workdir))


def test_scores_of_every_system_and_setting(run, drawn):
    workdir, scored = run
    scores = json.loads(Path(workdir, "scores.json").read_text())
    assert scores == json.loads(json.dumps(scored.scores))
    assert set(systems(scores)) == SYSTEMS
    assert 0 < scores["reconstruction"]["l1"] < 3
    assert 0 < scores["reconstruction"]["mean_image"] < 3
    assert scores["dataset"] == "SYSU-MM01 (drawn)"
    records = read_sysu_mm01(drawn)
    test = records.split == "test"
    for system in SYSTEMS:
        assert set(scores[system]) == SETTINGS
        single = scores[system]["all_single"]
        assert single["probe_images"] == np.sum(test & (records.modality == 1))
        assert single["gallery_images"] == np.sum(test & (records.modality == 0) & (records.index == 1))
        assert len(single["trials"]) == 10
        assert 0 <= single["cmc"][0] <= single["cmc"][19] <= 1
    table = tables(scores)
    assert table.count("protocol official") == len(SETTINGS)
    assert "the teacher (rank-1 " in table
    assert "the control (rank-1 " in table


def test_the_comparison_is_a_sentence():
    def system(rank1, mAP):
        return {"all_single": {"cmc": [rank1], "mAP": mAP}}

    scores = {
        "settings": {"all_single": "all-search, single-shot"},
        "teacher": system(0.2, 0.3),
        "control": system(0.3, 0.25),
        "trained": system(0.25, 0.31),
    }
    assert comparison(scores).startswith(
        "In all-search, single-shot, the trained stage is ahead of the teacher (rank-1 +5.00 points, mAP +1.00) and "
        "neither ahead of nor behind the control (rank-1 -5.00 points, mAP +6.00)."
    )
    assert "behind the teacher" in comparison(scores | {"trained": system(0.1, 0.1)})
    assert comparison({"settings": scores["settings"], "trained": system(0.1, 0.1)}) == ""


def test_the_report_is_self_contained(run):
    _, scored = run
    page = Path(report.write(scored)).read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    for heading in ("Scores", "CMC curves", "Ranked lists", "Features in the plane", "Swapped images"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("data:image/png;base64,") == page.count("<img ") >= 8
    assert "drawn by a program" in page
    assert f"Drawn after {scored.scores['steps']} iterations; the paper trains 150,000." in page


def test_the_log_of_training(run):
    workdir, _ = run
    lines = [json.loads(line) for line in Path(workdir, "image", "metrics.jsonl").read_text().splitlines()]
    logged = {name for line in lines for name in line}
    assert {"L_simple", "L_cross", "L_id_orig", "L_adv_D", "L_total", "weight/L_dis", "learning_rate/trunk"} <= logged
    assert {"val/rank1", "val/mAP"} <= logged
    late = [line for line in lines if "weight/L_dis" in line]
    assert late[0]["weight/L_dis"] < late[-1]["weight/L_dis"]
    assert all(np.isfinite(value) for line in late for value in line.values())
    assert late[-1]["L_total"] < 2 * late[0]["L_total"]  # no jump when the late losses start


def test_a_changed_protocol_needs_no_training(run):
    workdir, _ = run
    scores = scoring.score(load(workdir), {"protocol": "agw"}).scores
    assert scores["protocol"] == "agw"


def test_description_before_anything_runs(drawn):
    config = get_config()
    config.data_dir = str(drawn)
    description = json.loads(describe.describe(config, as_json=True, flops=True))
    assert description["recipe"] == ["teacher", "image"]
    assert description["identities"] == 6
    image = description["stages"]["image"]
    assert set(image["networks"]) == {"E_a", "head", "E_s", "G", "D"}
    assert image["networks"]["G"]["outputs"] == [[64, 32, 3]]
    assert image["weights"]["L_dis"]["weight"] == 1
    assert image["flops_per_step"] > description["stages"]["teacher"]["flops_per_step"] > 0
    text = describe.describe(config, flops=True)
    for word in ("L_code_s", "grows from iteration", "FLOPs per step", "E_s"):
        assert word in text
