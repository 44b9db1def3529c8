"""What is refused before the first iteration, and what is only left out; training itself is replaced."""

import shutil

import jax
import pytest
from ml_collections import ConfigDict

from rgbir_jax import stages
from rgbir_jax.commands import recipe
from rgbir_jax.datasets import SYSU_MM01
from rgbir_jax.errors import UserError
from rgbir_jax.training import stage as stage_module
from tests.conftest import write_image
from tests.end_to_end.recipe import get_config
from tests.training.test_transfer import drawn_weights, save_stage


class Started(Exception):
    """Training would begin now."""


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Returns a function that starts a teacher on a tree up to its first iteration."""

    def fit(stage, *others, evaluate, sample, **more):
        raise Started(evaluate is not None, sample is not None)

    monkeypatch.setattr(recipe, "fit", fit)
    monkeypatch.setattr(recipe.compilation, "prepare", lambda: None)
    monkeypatch.setattr(stage_module, "initialise", drawn_weights)

    def start(tree, workdir=tmp_path / "run", **changes) -> tuple[bool, bool]:
        """Returns whether the stage is validated, and whether it makes pictures."""
        config = get_config("teacher")
        config.data_dir, config.batch.identities = str(tree), 2
        config.update(changes)
        with pytest.raises(Started) as started:
            recipe.train(config, str(workdir))
        return started.value.args

    return start


@pytest.fixture
def refused(begin, tmp_path):
    """Returns a function that starts a teacher, which must be refused and leave nothing. Returns the sentence."""

    def start(tree, **changes) -> str:
        before = set(tree.parent.rglob("*"))
        with pytest.raises(UserError) as error:
            begin(tree, **changes)
        assert set(tree.parent.rglob("*")) == before
        assert not (tmp_path / "run").exists()
        return str(error.value)

    return start


@pytest.fixture
def tree(drawn, tmp_path):
    """Copies the drawn dataset: 1 to 6 train, 7 to 10 are validated on, 11 to 15 are tested."""
    return shutil.copytree(drawn, tmp_path / "data" / "tree")


def people_of(tree, split: str) -> list[str]:
    return (tree / "exp" / f"{split}_id.txt").read_text().strip().split(",")


def without(tree, cameras: str, people: list[str]):
    for camera in cameras:
        for person in people:
            shutil.rmtree(tree / f"cam{camera}" / f"{int(person):04d}", ignore_errors=True)


def market(root, cameras=(1, 2)):
    for split, person in (("bounding_box_train", 2), ("bounding_box_train", 3), ("query", 1), ("bounding_box_test", 1)):
        camera = cameras[split == "bounding_box_test"]
        for number in (1, 2):
            write_image(root / split / f"{person:04d}_c{camera}s1_00000{number}_00.jpg", 10 * person + number)
    return root


def test_a_whole_tree_starts(begin, tree, capsys):
    assert begin(tree) == (True, True)
    assert "cannot run" not in capsys.readouterr().out


@pytest.mark.parametrize("place", [".", "run"])
def test_a_place_that_is_no_folder_is_refused_before_images_are_decoded(begin, tree, tmp_path, monkeypatch, place):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(recipe, "open_source", lambda *arguments: pytest.fail("images are decoded"))
    with pytest.raises(
        UserError, match=rf"^{file / place} cannot be written \(Not a directory\); make room on its disk"
    ):
        begin(tree, workdir=file / place)


def test_float64_that_jax_does_not_compute_in_is_refused(refused, tree):
    assert "config.dtype is float64, which JAX takes for float32; set the environment" in refused(tree, dtype="float64")


def test_permutations_of_other_images_are_refused(refused, tree):
    shutil.copy(tree / "cam1/0011/0002.jpg", tree / "cam1/0011/0003.jpg")
    assert "Identity 11 has 3 images in camera 1 here, but rand_perm_cam.mat names the images 1 to 2" in refused(tree)


def test_permutations_that_are_missing_are_named(begin, refused, tree, capsys):
    (tree / "rand_perm_cam.mat").unlink()
    assert "rand_perm_cam.mat is not there" in refused(tree)  # which validation needs
    assert begin(tree, train_split="trainval") == (False, True)
    assert "protocol official cannot run: " in capsys.readouterr().out


def test_a_market_of_one_camera_is_refused(refused, tmp_path):
    root = market(tmp_path / "data" / "market", cameras=(1, 1))
    changes = {"dataset": "market1501", "modalities": (0,), "protocol": "single_query", "train_split": "trainval"}
    assert "no probe has a match among the gallery images that it may see" in refused(root, **changes)


def test_two_cameras_are_enough(begin, make_sysu, capsys):
    tree = make_sysu(train=[1, 2, 3], val=[4, 5], test=[6, 7])
    for camera in (2, 4, 5, 6):
        shutil.rmtree(tree / f"cam{camera}")
        (tree / f"cam{camera}").mkdir()
    assert begin(tree, protocol="agw") == (True, True)
    assert "left out" not in capsys.readouterr().out  # cameras 1 and 3 serve every setting


def test_a_setting_without_gallery_is_left_out(begin, tree, capsys):
    for person in people_of(tree, "test"):
        without(tree, "12", [person])
    assert begin(tree, protocol="agw") == (True, True)
    assert "indoor_single is left out: it has no gallery" in capsys.readouterr().out


def test_validation_without_infrared_images_is_left_out(begin, tree, capsys):
    without(tree, "36", people_of(tree, "val"))
    assert begin(tree, protocol="agw") == (False, True)
    assert "Nothing is validated, so the last checkpoint of each stage is scored: " in capsys.readouterr().out


def test_tests_without_infrared_images_are_refused(refused, tree):
    without(tree, "36", people_of(tree, "test"))
    assert "allow no search of the protocol agw (all_single: it has no probe" in refused(tree, protocol="agw")


def test_people_of_one_modality_are_not_pictured(drawn):
    records = SYSU_MM01.read(drawn)
    config = ConfigDict({"dataset": "sysu_mm01", "modalities": (0, 1)})
    first = records.person_id[records.split == "test"].min()
    kept = records.select((records.person_id != first) | (records.modality == 0))
    rows = recipe.sample_rows(config, kept)
    assert first not in kept.person_id[rows]
    assert kept.modality[rows].tolist() == [0] * 4 + [1] * 4
    assert recipe.sample_rows(config, kept.select(kept.modality == 0)).shape == (0,)


def test_training_needs_nobody_to_test(begin, tree, capsys):
    (tree / "exp" / "test_id.txt").write_text("")
    assert begin(tree) == (True, False)
    assert "protocol official cannot run: " in capsys.readouterr().out


def test_scoring_needs_nobody_to_train(refused, tree):
    for split in ("train", "val"):
        (tree / "exp" / f"{split}_id.txt").unlink()
    assert "has nobody to train, so it can only be scored; complete it" in refused(tree)


def test_a_stage_of_another_run_that_does_not_fit_is_refused(refused, tree):
    """It would be noticed after the stages before it are trained."""
    config = get_config()
    config.image.networks.G.mlp = 9
    built = {name: stages.build(config, name, 6) for name in config.recipe}
    states = {"teacher": built["teacher"].init(jax.random.key(0), {})}
    save_stage(tree.parent / "other" / "image", built["image"].init(jax.random.key(0), states))
    changes = {"recipe": ("teacher", "image"), "image": get_config().image.to_dict()}
    changes["image"]["from_run"] = str(tree.parent / "other")
    assert "is for another model: it has " in refused(tree, **changes)


def test_weights_that_do_not_fit_are_refused(refused, tree):
    (tree.parent / "weights.pth").write_bytes(b"<!DOCTYPE html>")
    assert "holds no weights" in refused(tree, resnet50=str(tree.parent / "weights.pth"))


def test_a_batch_that_cannot_be_divided_is_refused(refused, tree):
    batch = {"identities": 3, "shots": 2, "parts": 2}
    assert "a batch of 3 identities cannot be divided among one device in 2 parts" in refused(tree, batch=batch)


def test_what_is_refused_is_refused_before_images_are_decoded(refused, tree):
    batch = {"identities": 100, "shots": 2, "parts": 1}
    assert "a batch of 100 identities cannot be drawn from 6" in refused(tree, batch=batch)
