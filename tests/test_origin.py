"""What a run was made from: equal shapes are not taken for equal meaning.

A run of three small stages is resumed, opened, taken from and scored after something of it was changed.
"""

import json
import shutil
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
import pytest

from rgbir_jax.commands import recipe, report, scoring
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import runs
from rgbir_jax.run import load
from rgbir_jax.training import checkpoints as checkpoints_module
from rgbir_jax.training.checkpoints import Checkpoints
from tests.conftest import write_sysu
from tests.linear_stage import get_config

IMAGES = np.arange(2 * 64 * 32 * 3, dtype=np.uint8).reshape(2, 64, 32, 3), np.array([0, 1])


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Writes a tree of as many people to train as to validate on."""
    splits = {"train": [1, 2, 3, 4], "val": [5, 6, 7, 8], "test": [9, 10, 11]}
    return write_sysu(tmp_path_factory.mktemp("data") / "tree", splits, images=2)


@pytest.fixture(scope="module")
def trained(tree, tmp_path_factory):
    """Trains three stages for two iterations each. Returns the run's folder."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    recipe.train(get_config(str(tree)), str(folder))
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """Copies the run for a test that changes it."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def copy(tree, tmp_path):
    """Copies the dataset for a test that changes it."""
    return shutil.copytree(tree, tmp_path / "copy", copy_function=shutil.copyfile)  # with other dates


def _train_further(run: Path, name: str) -> None:
    """Adds a checkpoint with other parameters to a stage, as more iterations would."""
    state, folder = load(run).states[name], run / name / "checkpoints"
    params = jax.tree.map(lambda leaf: leaf + 1, state.params)
    with closing(Checkpoints(folder, Checkpoints(folder).origin())) as checkpoints:
        checkpoints.save(9, state.replace(step=np.int32(9), params=params))


def _of_an_older_version(run: Path) -> None:
    """Removes what older versions did not save."""
    for file in run.glob("*/checkpoints/*/meta/metadata"):
        meta = json.loads(file.read_text())
        del meta["origin"]
        score = json.loads((file.parents[1] / "metrics" / "metrics").read_text())["score"]
        meta["checksum"] = checkpoints_module._checksum_of_meta(meta, score)
        file.write_text(json.dumps(meta))
    facts = json.loads((run / "run.json").read_text())
    for key in ("names", "images", "checksums", "parts"):
        del facts[key]
    (run / "run.json").write_text(json.dumps(facts))


def _content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _decoded(tree: Path) -> list[Path]:
    """Returns the files of decoded images of a tree."""
    return list(tree.parent.glob(f"{tree.name}.prepared/*/*x*.npy"))


# ---------------------------------------------------------------- the dataset


def _longer(tree):
    """Returns the recipe with an iteration more of the last stage."""
    config = get_config(str(tree))
    config.third.steps = 3
    return config


def test_a_copied_tree_with_more_to_test_resumes(run, copy, capsys):
    shutil.copy(copy / "cam1/0009/0001.jpg", copy / "cam1/0009/0003.jpg")
    shutil.copy(copy / "cam1/0005/0001.jpg", copy / "cam1/0005/0003.jpg")
    recipe.train(_longer(copy), str(run))
    assert Checkpoints(run / "third" / "checkpoints").latest() == 3
    assert _decoded(copy)
    assert f"{run} was started on other validation images" in capsys.readouterr().out


def _take_an_image(tree):
    (tree / "cam1/0001/0001.jpg").unlink()


def _exchange_training_and_validation(tree):
    train, val = tree / "exp/train_id.txt", tree / "exp/val_id.txt"
    people, others = train.read_text(), val.read_text()
    train.write_text(others)
    val.write_text(people)


def _exchange_somebody(tree):
    for path in tree.glob("cam*/0001/*.jpg"):
        shutil.copy(tree / path.parts[-3] / "0010" / "0001.jpg", path)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (_take_an_image, "12 images of identity 1, and this dataset has 11"),
        (_exchange_training_and_validation, "4 other identities than the 4 of this dataset, such as 1"),
        (_exchange_somebody, "other images of identity 1 than those of this dataset"),
    ],
)
def test_a_run_is_not_resumed_on_other_training_images(run, copy, change, difference):
    before = _content(run)
    change(copy)
    with pytest.raises(UserError) as error:
        recipe.train(_longer(copy), str(run))
    way_out = "set --config.data_dir back or choose another --workdir."
    assert str(error.value) == f"{run} was trained on {difference}; {way_out}"
    assert _content(run) == before
    assert not _decoded(copy)


def test_a_stage_of_a_run_on_other_data_is_not_taken(trained, copy, tmp_path):
    _exchange_somebody(copy)
    config = get_config(str(copy))
    config.first.from_run = str(trained)
    text = rf"{trained} was trained on other images of identity 1 .*; config.first.from_run needs a run on the same"
    with pytest.raises(UserError, match=text):
        recipe.train(config, str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    assert not _decoded(copy)


# ---------------------------------------------------------------- earlier stages


@pytest.mark.parametrize(("earlier", "later"), [("first", "second"), ("second", "third")])
def test_an_earlier_stage_is_not_trained_further(run, tree, earlier, later):
    before, config = _content(run), get_config(str(tree))
    config[earlier].steps = 4
    text = rf"{run}/{later} was trained from {earlier}, so .*: set config.{earlier}.steps back to 2, or choose another"
    with pytest.raises(UserError, match=text):
        recipe.train(config, str(run))
    assert _content(run) == before
    _of_an_older_version(run)
    with pytest.raises(UserError, match=text):
        recipe.train(config, str(run))


def test_another_stage_to_start_from_stops_training_and_not_scoring(run, tree, capsys):
    features = load(run).features(*IMAGES)
    assert capsys.readouterr().out == ""
    _train_further(run, "first")
    opened = load(run)
    text = f"{run}/second was trained from first as it was after iteration 2, and the run's first is now another one"
    assert f"{text}, of iteration 9. The features of second do not depend on it" in capsys.readouterr().out
    np.testing.assert_array_equal(opened.features(*IMAGES), features)
    with pytest.raises(UserError, match=rf"{text}, of iteration 9; put the former one back, or choose another"):
        recipe.train(_longer(tree), str(run))


def test_another_stage_to_read_stops_both(run, tree):
    """Its features are not those that the later stage learned from."""
    _train_further(run, "second")
    text = f"{run}/third was trained from second as it was after iteration 2, and the run's second is now another one"
    with pytest.raises(UserError, match=rf"{text}, of iteration 9, whose features are other ones; put the former"):
        load(run)
    with pytest.raises(UserError, match=text):
        recipe.train(_longer(tree), str(run))


def test_an_earlier_stage_with_a_damaged_checkpoint_is_made_again(run, tree, capsys):
    """The one before serves, and leads to the same state."""
    features = load(run).features(*IMAGES)
    shutil.rmtree(run / "second" / "checkpoints" / "2" / "state")
    with pytest.raises(UserError, match=r"the run's second is now another one, of iteration 1, .* train it again with"):
        load(run)
    recipe.train(get_config(str(tree)), str(run))
    np.testing.assert_array_equal(load(run).features(*IMAGES), features)
    assert "now another one" not in capsys.readouterr().out


def test_a_stage_is_taken_only_with_what_it_was_trained_from(trained, tree, tmp_path):
    config = get_config(str(tree))
    config.third.from_run = str(trained)
    text = rf"{trained}/third was trained from second as it was after iteration 2, and the run's second is now another"
    config.seed = 5
    with pytest.raises(UserError, match=text):
        recipe.train(config, str(tmp_path / "new"))
    config.first.from_run = config.second.from_run = str(trained)
    recipe.train(config, str(tmp_path / "taken"))
    np.testing.assert_array_equal(load(tmp_path / "taken").features(*IMAGES), load(trained).features(*IMAGES))


# ---------------------------------------------------------------- config.json and run.json


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text('{"recipe": [')])
@pytest.mark.parametrize("name", ["config.json", "run.json"])
def test_the_copy_of_a_lost_file_serves(run, tree, capsys, name, damage):
    before, features = (run / name).read_text(), load(run).features(*IMAGES)
    damage(run / name)
    np.testing.assert_array_equal(load(run).features(*IMAGES), features)
    text = f"{run}/{name} is missing or damaged; the copy in {run}/third/checkpoints is used."
    assert text in capsys.readouterr().out
    config = get_config(str(tree))
    config.seed = 1
    with pytest.raises(UserError, match=r"was started with config.seed = 0, now it is 1"):
        recipe.train(config, str(run))
    capsys.readouterr()
    recipe.train(get_config(str(tree)), str(run))
    assert capsys.readouterr().out.count(text) == 1
    assert json.loads((run / name).read_text()) == json.loads(before)


def test_the_config_of_a_run_that_stages_were_taken_from_does_not_serve(trained, tree, tmp_path, capsys):
    config, run = get_config(str(tree)), tmp_path / "taken"
    for name in config.recipe:
        config[name].from_run = str(trained)
    recipe.train(config, str(run))
    (run / "config.json").unlink()
    before = _content(run)
    capsys.readouterr()
    with pytest.raises(UserError) as error:
        recipe.train(config, str(run))
    assert str(error.value) == (
        f"{run}/config.json is missing or damaged, and {run}/third/checkpoints has only the config of the run that "
        f"third was taken from; copy config.json from a backup, or choose another --workdir."
    )
    assert capsys.readouterr().out == ""
    assert _content(run) == before


def test_a_checkpoint_of_an_older_version_opens_and_has_no_copy(run, tree, capsys):
    _of_an_older_version(run)
    assert load(run).people == ["1", "2", "3", "4"]
    assert f"{run}: the checkpoints of first, second, third do not say what they were" in capsys.readouterr().out
    recipe.train(_longer(tree), str(run))
    assert "other image files" not in capsys.readouterr().out
    (run / "run.json").unlink()
    shutil.rmtree(run / "third")  # has been trained by this version since
    with pytest.raises(UserError, match=r"run.json is missing; the command that trained the run writes it again"):
        load(run)
    (run / "config.json").unlink()
    with pytest.raises(UserError, match=r"config.json is missing, and the checkpoints are of an older version, which"):
        load(run)


def test_a_stage_of_another_run_is_not_taken_for_this_one_s(run, tree, capsys):
    """It has the same shapes."""
    values, config = json.loads((run / "config.json").read_text()), get_config(str(tree))
    (run / "config.json").write_text(json.dumps(values | {"seed": 3}))
    config.seed = 3
    load(run)
    assert f"{run}/first was trained with config.seed = 0, and {run} has 3" in capsys.readouterr().out
    with pytest.raises(UserError, match=rf"{run}/first was started with config.seed = 0, now it is 3"):
        recipe.train(config, str(run))


@pytest.mark.parametrize("key", ["dtype", "first.decay", "second.networks.head", "image.networks.E_s", "image.swaps"])
def test_a_key_that_the_config_lacks_is_named(run, key):
    config = json.loads((run / "config.json").read_text())
    config["recipe"] = ["first", "second", "image"]
    config["image"] |= {"teacher": "", "start_from": ""}
    config["image"]["weights"]["L_dis"] = 0.0
    *path, last = key.split(".")
    section = config
    for name in path:
        section = section[name]
    del section[last]
    (run / "config.json").write_text(json.dumps(config))
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | {"commit": "abc1234"}))
    with pytest.raises(UserError) as error:
        load(run)
    assert str(error.value) == (
        f"{run} was trained without config.{key}, which this version of the code needs; open it with the version that "
        f"trained it, commit abc1234."
    )


def test_an_error_of_the_code_keeps_its_traceback(trained, monkeypatch):
    monkeypatch.setattr("rgbir_jax.run.known_stages.build", lambda *arguments: {}["absent"])
    with pytest.raises(KeyError, match="absent"):
        load(trained)


# ---------------------------------------------------------------- scores of other data


def _folder(run: Path, data_dir: Path) -> Path:
    opened = load(run)
    opened.config.data_dir = str(data_dir)
    return scoring.folder_of(opened, recipe.open_source(opened.config).records)


def test_a_moved_tree_is_the_run_s_own(run, copy):
    assert _folder(run, copy) == run
    _take_an_image(copy)  # it only trains
    assert _folder(run, copy) == run


def test_other_test_images_are_other_data_except_in_the_run_s_own_tree(run, copy, capsys):
    config = json.loads((run / "config.json").read_text())
    (copy / "cam1/0009/0001.jpg").unlink()
    folder = _folder(run, copy)
    assert folder.parent == run / "other_data"
    assert folder.name.startswith("copy-")
    assert f"{copy} is not the data of {run}: scores and figures go to {folder}." in capsys.readouterr().err
    (run / "config.json").write_text(json.dumps(config | {"data_dir": str(copy)}))
    assert _folder(run, copy) == run
    assert f"{copy} has other test images than when {run} was started" in capsys.readouterr().err
    _exchange_somebody(copy)
    assert _folder(run, copy) == folder


def test_of_an_older_run_the_fingerprint_tells(run, tree, copy):
    _of_an_older_version(run)
    assert _folder(run, tree) == run
    assert _folder(run, copy).parent == run / "other_data"


def test_scores_of_other_data_do_not_replace_those_of_the_run(run, copy, capsys):
    (run / "scores.json").write_text("{}")
    (run / "cmc.png").touch()
    before = _content(run)
    (copy / "cam1/0009/0001.jpg").unlink()
    scored = scoring.score(load(run), {"data_dir": str(copy)})
    page = Path(report.write(scored))
    written = (scored.folder / "second" / "embeddings.npz").stat().st_mtime_ns
    after = _content(run)
    assert {path: after[path] for path in before} == before
    new = after.keys() - before.keys() - {scored.folder / "second" / "embeddings.npz"}
    assert {path.parent for path in new} == {scored.folder} == {page.parent}
    assert run / "second" / "embeddings.npz" in before
    scoring.score(load(run), {"data_dir": str(copy)})
    assert (scored.folder / "second" / "embeddings.npz").stat().st_mtime_ns == written  # and is read the next time
    assert json.loads((scored.folder / "scores.json").read_text()) == json.loads(json.dumps(scored.scores))
    capsys.readouterr()
    (found,) = runs.read_runs(run.parent)
    assert found.scores == {}
    assert capsys.readouterr().err == ""
