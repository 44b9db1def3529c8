"""RegDB, LLCM and own folders from the tree to the table: training, scoring and report."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from configs import own_folders
from rgbir_jax.commands import describe, recipe, report, scoring
from rgbir_jax.commands.export import export
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.feature_file import score_feature_file
from rgbir_jax.run import load
from tests.conftest import write_image
from tests.end_to_end.quickstarts import make, run_commands
from tests.end_to_end.recipe import get_config


def tiny(use, tree: Path):
    """Returns the recipe of a teacher that trains two iterations on a tree."""
    config = get_config("teacher")
    use(config)
    config.data_dir = str(tree)
    config.teacher.update({"steps": 2, "log_every": 1, "evaluate_every": 0, "checkpoint_every": 2})
    config.teacher.decay.update({"at": (), "warmup": 0})
    return config


def scores_of(run: Path) -> dict:
    return json.loads((run / "scores.json").read_text())


def rows_of(table: str) -> list[list[str]]:
    """Returns the cells of this code's rows of a printed table."""
    lines = [line for line in table.splitlines() if line.startswith("| this code")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture(scope="module")
def regdb(tmp_path_factory):
    """Runs quickstart-regdb. Returns the folder of its runs and the table."""
    checkout = tmp_path_factory.mktemp("regdb")
    table = run_commands("quickstart-regdb", checkout)
    return checkout / "runs" / "quickstart_regdb", table


def test_regdb(regdb):
    runs, _ = regdb
    people = []
    for fold in ("1", "2"):
        scores = scores_of(runs / fold)
        assert scores["dataset"] == "RegDB (drawn)"
        for name in ("visible_to_thermal", "thermal_to_visible"):
            score = scores["trained"][name]
            assert (score["probe_images"], score["gallery_images"], len(score["trials"])) == (6, 6, 1)
        people.append(load(runs / fold).facts.people)
        assert "<h2>Ranked lists</h2>" in (runs / fold / "report.html").read_text()
    assert people[0] != people[1]


def test_the_folds_of_regdb_are_averaged(regdb):
    runs, table = regdb
    rank1 = [scores_of(runs / fold)["trained"]["visible_to_thermal"]["cmc"][0] for fold in ("1", "2")]
    (row,) = rows_of(table)
    assert row[:3] == ["this code", "teacher", "folds 1, 2"]
    assert float(row[3].split()[0]) == pytest.approx(50 * sum(rank1), abs=0.01)


def test_a_run_is_resumed_on_its_own_fold_only(regdb, monkeypatch):
    runs, _ = regdb
    monkeypatch.chdir(runs.parents[1])
    config = load(runs / "1").config
    config.fold = 3
    with pytest.raises(UserError, match=r"was started with config.fold = 1, now it is 3"):
        recipe.train(config, str(runs / "1"))
    config.fold = 12
    with pytest.raises(UserError, match=r"config.fold 12 is unknown"):
        describe.describe(config)


def test_llcm(tmp_path):
    table = run_commands("quickstart-llcm", tmp_path)
    run = tmp_path / "runs" / "quickstart_llcm" / "teacher"
    scores = scores_of(run)
    assert scores["dataset"] == "LLCM (drawn)"
    for name in ("visible_to_infrared", "infrared_to_visible"):
        score = scores["trained"][name]
        assert len(score["trials"]) == 10
        assert score["different_galleries"] > 1
        assert score["gallery_images"] < score["probe_images"]
    (row,) = rows_of(table)
    assert row[:3] == ["this code", "teacher", "teacher"]
    assert row[-4:-2] == ["seeded", "LLCM (drawn)"]
    assert (run / "report.html").is_file()


def test_folders_such_as_ones_own(tmp_path, capsys):
    run_commands("quickstart-folders", tmp_path)
    assert "Nothing is wrong." in capsys.readouterr().out
    run = tmp_path / "runs" / "quickstart_folders"
    assert scores_of(run)["dataset"] == "drawn_folders (drawn)"
    assert len(load(run).facts.people) == 4
    page = (run / "report.html").read_text()
    assert "<h2>Ranked lists</h2>" in page
    assert "<dt>test_share</dt>" not in page  # the drawing program writes lists
    assert "camera_pattern" not in page  # it is empty


@pytest.mark.slow
@pytest.mark.parametrize("target", ["quickstart-regdb", "quickstart-llcm", "quickstart-folders"])
def test_the_targets_themselves(target, tmp_path):
    printed = make(target, tmp_path, str(Path(sys.executable).parent))
    tables = 0 if target == "quickstart-folders" else 1
    assert len(rows_of(printed)) == tables
    assert len(list(tmp_path.glob("runs/**/report.html"))) == (2 if target == "quickstart-regdb" else 1)
    assert "raw_pixels" in printed


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
    page = Path(report.write(scored)).read_text()
    assert "<h2>Ranked lists</h2>" in page
    assert "<dt>test_share</dt><dd>0.34</dd>" in page
    scoring.write_features(scored, str(tmp_path / "features.npz"))
    assert "Photos, features.npz" in score_feature_file(str(tmp_path / "features.npz"))[0]
    assert "tested identities" not in capsys.readouterr().err
    people = [path.parent.name for path in (tmp_path / "Photos/rgb").glob("*/c1.JPEG")]
    (tmp_path / "Photos/test.txt").write_text("\n".join(people[:5]))  # most of them have trained
    page = Path(report.write(scoring.score(run))).read_text()
    for name in ("test_share", "val_share", "split_seed"):
        assert f"<dt>{name}</dt>" not in page  # the list decides
    assert "<dt>camera_pattern</dt>" in page
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
