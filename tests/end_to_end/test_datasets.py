"""RegDB, LLCM and own folders from the tree to the table: training, scoring and report."""

import json
import shutil
from pathlib import Path

import pytest

from configs import llcm_image, own_folders, regdb_image
from rgbir_jax import synthetic
from rgbir_jax.commands import describe, recipe, report, scoring
from rgbir_jax.commands.export import export
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import tables
from rgbir_jax.evaluation.feature_file import score_feature_file
from rgbir_jax.run import load
from tests.conftest import write_image
from tests.end_to_end.recipe import get_config


def tiny(use, tree: Path):
    """Returns the recipe of a teacher that trains two iterations on a tree."""
    config = get_config("teacher")
    use(config)
    config.data_dir = str(tree)
    config.teacher.update({"steps": 2, "log_every": 1, "evaluate_every": 0, "checkpoint_every": 2})
    config.teacher.decay.update({"at": (), "warmup": 0})
    return config


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """Trains and scores two folds of a drawn RegDB. Returns the folder of the runs and the recipe."""
    root = tmp_path_factory.mktemp("regdb")
    plan = synthetic.regdb_plan(4, 3, 2, 0)
    synthetic.write(plan, root / "tree", seed=0, size=(32, 16), arguments={}, workers=1)
    config = tiny(regdb_image.use_regdb, root / "tree")
    for fold in (1, 2):
        config.fold = fold
        recipe.train(config, str(root / "runs" / str(fold)))
        scoring.score(load(root / "runs" / str(fold)))
    return root / "runs", config


def test_regdb(folds):
    runs, _ = folds
    run = load(runs / "1")
    scored = scoring.score(run)
    assert scored.scores["dataset"] == "RegDB (drawn)"
    for name in ("visible_to_thermal", "thermal_to_visible"):
        score = scored.scores["trained"][name]
        assert (score["probe_images"], score["gallery_images"], len(score["trials"])) == (6, 6, 1)
    assert run.facts.people != load(runs / "2").facts.people
    assert "<h2>Ranked lists</h2>" in Path(report.write(scored)).read_text()


def test_the_folds_of_regdb_are_averaged(folds):
    runs, _ = folds
    rank1 = [
        json.loads((runs / str(fold) / "scores.json").read_text())["trained"]["visible_to_thermal"]["cmc"][0]
        for fold in (1, 2)
    ]
    _, drawn = tables.compare("regdb", str(runs)).blocks
    (row,) = drawn.rows
    assert row.run == "folds 1, 2"
    assert row.figures["V→T"]["r1"].mean == pytest.approx(50 * sum(rank1), abs=0.01)


def test_a_run_is_resumed_on_its_own_fold_only(folds):
    runs, config = folds
    config = config.copy_and_resolve_references()
    config.fold = 3
    with pytest.raises(UserError, match=r"was started with config.fold = 1, now it is 3"):
        recipe.train(config, str(runs / "1"))
    config.fold = 12
    with pytest.raises(UserError, match=r"config.fold 12 is unknown"):
        describe.describe(config)


def test_llcm(tmp_path):
    plan = synthetic.llcm_plan(4, 3, 2, 0)
    synthetic.write(plan, tmp_path / "tree", seed=0, size=(32, 16), arguments={}, workers=1)
    recipe.train(tiny(llcm_image.use_llcm, tmp_path / "tree"), str(tmp_path / "runs" / "llcm"))
    scored = scoring.score(load(tmp_path / "runs" / "llcm"))
    assert scored.scores["dataset"] == "LLCM (drawn)"
    for name in ("visible_to_infrared", "infrared_to_visible"):
        score = scored.scores["trained"][name]
        assert len(score["trials"]) == 10
        assert score["different_galleries"] > 1
        assert score["gallery_images"] < score["probe_images"]
    _, drawn = tables.compare("llcm", str(tmp_path / "runs")).blocks
    assert [(row.run, row.protocol) for row in drawn.rows] == [("llcm", "seeded")]


def test_own_folders(tmp_path, monkeypatch, capsys):
    """Pictures of four persons of any name train, are scored and reported; the home folder may be written as ~."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for seed, name in enumerate(("Zoë", "anna b", "emil", "fay", "gus", "hal")):
        for kind in ("rgb", "ir"):
            for camera in (1, 2):
                write_image(tmp_path / "Photos" / kind / name / f"c{camera}.JPEG", 10 * seed + camera, kind == "ir")
    (tmp_path / "Photos/rgb/fay/notes.txt").touch()
    config = tiny(own_folders.use_folders, Path("~/Photos"))
    config.camera_pattern, config.test_share = r"c(?P<camera>\d)", 0.34
    recipe.train(config, "~/run")
    assert "left out: 1 (rgb/fay/notes.txt)" in capsys.readouterr().err
    run = load("~/run")
    assert len(run.facts.people) == 4
    assert set(run.people) < {"Zoë", "anna b", "emil", "fay", "gus", "hal"}
    export(run, tmp_path / "model")
    assert load(tmp_path / "model").people == [str(number) for number in run.facts.people]  # names stay with the run
    scored = scoring.score(run)
    assert scored.scores["dataset"] == "Photos"
    assert {name: score["probe_images"] for name, score in scored.scores["trained"].items()} == {
        "ir_to_rgb": 4, "rgb_to_ir": 4, "both": 8
    }  # fmt: skip
    assert "<h2>Ranked lists</h2>" in Path(report.write(scored)).read_text()
    scoring.write_features(scored, str(tmp_path / "features.npz"))
    assert "Photos, features.npz" in score_feature_file(str(tmp_path / "features.npz"), None, None, None, None)
    assert "tested identities" not in capsys.readouterr().err
    people = [path.parent.name for path in (tmp_path / "Photos/rgb").glob("*/c1.JPEG")]
    (tmp_path / "Photos/test.txt").write_text("\n".join(people[:5]))  # most of them have trained
    scoring.score(run)
    assert "if they are the same persons, the scores are too good" in capsys.readouterr().err
    (tmp_path / "Photos/test.txt").unlink()
    config.split_seed = 1
    with pytest.raises(UserError, match=r"was started with config.split_seed = 0, now it is 1"):
        recipe.train(config, "~/run")


def test_training_names_what_scoring_will_miss(drawn, tmp_path, capsys):
    """It trains all the same: without validation, nothing needs the file before that."""
    root = shutil.copytree(drawn, tmp_path / "tree")
    (root / "rand_perm_cam.mat").unlink()
    recipe.train(tiny(lambda config: config.update({"train_split": "trainval"}), root), str(tmp_path / "run"))
    assert "protocol official cannot run: " in capsys.readouterr().out
