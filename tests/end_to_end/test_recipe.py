"""Drawn data, training, scoring and report, from end to end."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from rgbir_jax.commands import describe, disentanglement, evaluate, recipe, report, scoring
from rgbir_jax.data.sources import open_source
from rgbir_jax.datasets.sysu_mm01 import read as read_sysu_mm01
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.disentanglement import sentences, tables
from rgbir_jax.evaluation.scores import comparison, systems
from rgbir_jax.evaluation.scores import tables as score_tables
from rgbir_jax.run import load
from tests.end_to_end.recipe import get_config

SYSTEMS = {"chance", "raw_pixels", "untrained", "teacher", "control", "trained", "a", "s"}
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
    table = score_tables(scores)
    assert table.count("protocol official") == len(SETTINGS)
    assert "the teacher (rank-1 " in table
    assert "the control (rank-1 " in table


def test_pairs_of_every_system(run):
    _, scored = run
    for system in SYSTEMS - {"chance"}:
        pairs = scored.scores[system]["all_multi"]["verification"]
        assert 0 < pairs["same_pairs"] < pairs["different_pairs"]
        assert 0 <= pairs["eer"] <= 1
        assert pairs["tpr_at_fpr"]["0.0001"]["tpr"] is None  # of so few pairs
    assert "verification" not in scored.scores["chance"]["all_multi"]
    assert "same person or not?" in score_tables(scored.scores)


def test_a_run_keeps_its_thresholds(run, drawn, tmp_path):
    workdir, scored = run
    opened = load(workdir)
    threshold = opened.threshold(0.1)
    records = read_sysu_mm01(drawn)
    val = np.flatnonzero(records.split == "val")
    features = opened.features(open_source(opened.config).read(val), records.modality[val])
    ir, rgb = (records.modality[val] == modality for modality in (1, 0))
    distance = np.linalg.norm(features[ir, None] - features[rgb], axis=2)
    other = records.person_id[val][ir, None] != records.person_id[val][rgb]
    seen = ~((records.camera[val][ir, None] == 3) & (records.camera[val][rgb] == 2))
    assert 0.05 < np.mean(distance[other & seen] <= threshold + 1e-6) <= 0.1
    with pytest.raises(
        UserError, match=r"a false positive rate of 1e-05 cannot be found from .* \(4 people of SYSU-MM01"
    ):
        opened.threshold(1e-5)
    shutil.copytree(workdir, tmp_path / "run")
    content = scored.thresholds.content() | {"steps": 999}
    (tmp_path / "run" / "thresholds.json").write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r"is of iteration 999 of image, and the run is now at iteration \d of image; eval"
    ):
        load(tmp_path / "run").threshold(0.1)
    (tmp_path / "run" / "thresholds.json").unlink()
    with pytest.raises(UserError, match=r"has no thresholds: eval.py --workdir .* finds them on validation identities"):
        load(tmp_path / "run").threshold(0.1)


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
    for heading in ("Scores", "CMC curves", "Same person or not", "Where it fails", "Ranked lists", "What was run"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("data:image/webp;base64,") == page.count("<img ") >= 11
    assert len(page.encode()) < 5e6
    own = scored.scores["trained"]["all_single"]
    assert f"<b>{100 * own['cmc'][0]:.1f}%</b> rank-1" in page
    assert f"<b>{100 * own['mAP']:.1f}%</b> mAP" in page
    assert "paired bootstrap over the 5 persons" in page
    assert re.search(r"The trained stage (finds|is neither).* its teacher.*: its mAP is ahead by", page)
    assert "Re-ranked" not in page
    assert "drawn by a program" in page
    assert f"Drawn after {scored.scores['steps']} iterations; the paper trains 150,000." in page


@pytest.fixture(scope="module")
def measured(run):
    """Measures the run with the judge that comes with the package. Returns (Scored, content of the file)."""
    _, scored = run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disentanglement, "NEW_PEOPLE", 10)
        content = disentanglement.measure(scored, disentanglement.check(scored.run, None), 3)
        disentanglement.write(scored, content)
        return scored, content


def test_disentanglement_of_drawn_people(run, measured):
    workdir, _ = run
    scored, content = measured
    assert content["judge"] == "drawn"
    assert json.loads(Path(workdir, "disentanglement.json").read_text()) == json.loads(json.dumps(content))
    for block in ("rgb_rgb", "ir_ir", "rgb_ir", "ir_rgb"):
        for difference in ("l1", "ssim"):
            assert content[block][difference].keys() == {"swap", "reconstruction", "image_i", "image_j", "mean"}
        assert {"rank1_j", "rank1_i", "chance"} <= content[block]["recogniser"].keys()
        assert content[block]["recogniser"]["chance"] == 1 / 5
    assert content["probes"].keys() == {"a", "s", "s_parts", "s_pooled", "feature"}
    assert {"upper_colour", "upper_infrared", "height", "view", "modality"} <= content["probes"]["a"].keys()
    text = "\n".join(map(str, tables(content)))
    assert "Table 1 of the paper" in text
    for sentence in sentences(content):
        assert "(chance 20%). By L1 (" in sentence
        assert "By SSIM (" in sentence
    assert disentanglement.kept(scored) == json.loads(json.dumps(content))
    assert disentanglement.kept(scored._replace(scores=scored.scores | {"steps": 99})) is None
    page = Path(report.write(scored, content)).read_text()
    assert "<h2>Disentanglement</h2>" in page
    assert "<h2>Swapped images and the truth</h2>" in page


def test_the_command_measures_and_reports(run, monkeypatch, capsys):
    workdir, scored = run
    file = Path(workdir, "disentanglement.json")
    file.unlink(missing_ok=True)
    monkeypatch.setattr(disentanglement, "NEW_PEOPLE", 10)
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(workdir=workdir, disentanglement=True, swap_images=3, rerank=True):
        evaluate.evaluate()
    printed = capsys.readouterr().out
    assert "all-search, single-shot" in printed
    assert "Table 1 of the paper" in printed
    content = json.loads(file.read_text())
    assert content["steps"] == scored.scores["steps"]
    assert 3 <= content["rgb_ir"]["pairs"] <= 9
    page = Path(workdir, "report.html").read_text()
    assert "<h2>Disentanglement</h2>" in page
    # Re-ranked scores are apart from the others, with their label.
    scores = json.loads(Path(workdir, "scores.json").read_text())
    again, label = scores.pop("reranked"), "re-ranked (k1 20, k2 6, λ 0.3)"
    assert scores == json.loads(json.dumps(scored.scores))
    assert again["label"] == label
    assert set(again["scores"]) == SETTINGS
    (headline,) = (line for line in printed.splitlines() if label in line)
    assert headline.startswith(f"SYSU-MM01 (drawn), trained, {label}; protocol official")
    assert page.count(label) == 1
    assert "<h2>Re-ranked</h2>" in page


def test_scores_can_be_written_without_a_report(run, capsys):
    workdir, scored = run
    scores, page = Path(workdir, "scores.json"), Path(workdir, "report.html")
    scores.unlink()
    page.unlink(missing_ok=True)
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(workdir=workdir, report=False):
        evaluate.evaluate()
    assert json.loads(scores.read_text()) == json.loads(json.dumps(scored.scores))
    assert not page.exists()
    assert "report" not in capsys.readouterr().out
    report.write(scored)  # for the tests after this one


def test_who_cannot_judge(run, measured):
    workdir, scored = run
    assert scored.run.facts.drawn_with["seed"] == 0
    with pytest.raises(
        UserError,
        match=r"trained on people drawn with seed \d+, as were those of .*; --judge takes a run on people of another",
    ):
        disentanglement.check(scored.run, workdir)


def test_disentanglement_of_images_whose_factors_are_unknown(run, drawn, tmp_path, monkeypatch):
    """The run's teacher judges, and the probes look for what is labelled."""
    workdir, _ = run
    shutil.copytree(drawn, tmp_path / "tree", ignore=shutil.ignore_patterns("drawn.json", "factors.csv"))
    shutil.copytree(workdir, tmp_path / "run")
    real = load(tmp_path / "run")
    real.config.data_dir = str(tmp_path / "tree")
    assert disentanglement.check(real, None) is None
    content = disentanglement.measure(scoring.score(real), None, 3)
    assert content["rgb_ir"]["recogniser"].keys() == {"rank1_j", "rank1_i", "chance"}
    assert 0 < content["rgb_ir"]["recogniser"]["chance"] < 1
    assert content["probes"].keys() == {"a", "s", "s_parts", "s_pooled", "feature"}  # five people are too few for more
    assert "Whom the judge" in "\n".join(map(str, tables(content)))


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
