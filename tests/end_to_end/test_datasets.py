"""RegDB and LLCM from the drawn tree to the table: training, scoring and report."""

import json
from pathlib import Path

import pytest

from configs import llcm_image, regdb_image
from rgbir_jax import synthetic
from rgbir_jax.commands import describe, recipe, report, scoring
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import tables
from rgbir_jax.run import load
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
