"""Drawing another person into a picture of a drawn dataset."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from rgbir_jax.errors import UserError
from rgbir_jax.synthetic import folders_plan, llcm_plan, market_plan, open_drawn, regdb_plan, sysu_plan, write
from rgbir_jax.synthetic.camera import SYSU_CAMERAS
from rgbir_jax.synthetic.picture import draw
from rgbir_jax.synthetic.shot import Shot, identity_of, pose_of

SIZE = (48, 24)


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Draws a small dataset in each tree."""
    root = tmp_path_factory.mktemp("drawn")
    write(sysu_plan(2, 0, 3, 2, 7), root / "sysu", seed=7, size=SIZE, arguments={}, workers=1)
    write(folders_plan(2, 0, 2, 2, 7), root / "folders", seed=7, size=SIZE, arguments={}, workers=1)
    for name, plan in (("market", market_plan), ("regdb", regdb_plan), ("llcm", llcm_plan)):
        write(plan(2, 2, 2, 7), root / name, seed=7, size=SIZE, arguments={}, workers=1)
    return root


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


INFRARED = {
    "sysu": ("cam3", "cam6"),
    "market": (),
    "regdb": ("Thermal",),
    "llcm": ("nir",),
    "folders": ("ir",),
}  # first folders


@pytest.mark.parametrize("tree", INFRARED)
def test_the_own_person_in_the_own_modality_is_the_file_itself(trees, tree):
    dataset = open_drawn(trees / tree)
    paths = sorted(path for path in dataset.factors if "/-1_" not in path)
    assert len(paths) == len([path for path in (trees / tree).rglob("*.[jb][pm]?") if not path.name.startswith("-1")])
    for path in paths:
        infrared = path.split("/")[0] in INFRARED[tree]
        assert dataset.counterfactual(path, dataset.person(path), infrared) == (trees / tree / path).read_bytes()
        assert dataset.picture(path) == (trees / tree / path).read_bytes()


@pytest.mark.parametrize("tree", INFRARED)
def test_new_people_are_in_no_dataset_and_in_every_camera(trees, tree):
    dataset = open_drawn(trees / tree)
    people = dataset.new_people(3)
    persons = {people.person(path) for path in people.factors}
    assert len(persons) == 3
    assert not persons & {dataset.person(path) for path in dataset.factors}
    assert {row["camera.infrared"] for row in people.factors.values()} == ({"0", "1"} if INFRARED[tree] else {"0"})
    cameras = {(row["camera.number"], row["camera.infrared"]) for row in dataset.factors.values()}
    assert len(people.factors) == 3 * len(cameras)
    assert len({people.picture(path) for path in people.factors}) == len(people.factors)
    assert len({row["pose.phase"] for row in people.factors.values()}) == len(people.factors)
    assert next(iter(people.factors.values())).keys() == next(iter(dataset.factors.values())).keys()


def test_another_person_has_the_pose_and_the_camera_of_the_picture(trees):
    dataset = open_drawn(trees / "sysu")
    path = next(path for path in dataset.factors if path.startswith("cam1/"))
    person, number = int(path[5:9]), int(path[10:14])
    other = person + 1
    pose, grain = pose_of(Shot(path, person, SYSU_CAMERAS[0], number), 7)
    expected = draw(identity_of(other, 7), pose, SYSU_CAMERAS[0], grain, SIZE).astype(int)
    picture = pixels(dataset.counterfactual(path, other, False))
    assert abs(picture - expected).mean() < 6  # JPEG
    own = pixels((trees / "sysu" / path).read_bytes())
    assert abs(picture - own).mean() > 10
    corner = np.s_[:8, :3]  # the person is in neither picture's corner
    assert abs(picture[corner] - own[corner]).mean() < 6


def test_pictures_of_two_persons_differ_where_either_of_them_is(trees):
    dataset = open_drawn(trees / "sysu")
    path = next(path for path in dataset.factors if path.startswith("cam3/"))
    masks = [dataset.silhouette(path, person) for person in (1, 2)]
    first, second = (pixels(dataset.counterfactual(path, person, True)) for person in (1, 2))
    difference = abs(first - second).mean(axis=2)
    union = masks[0] | masks[1]
    assert 0.1 < union.mean() < 0.6
    assert (masks[0] != masks[1]).any()
    assert difference[union].mean() > 4 * difference[~union].mean()


def test_the_other_modality(trees):
    dataset = open_drawn(trees / "sysu")
    for path in (next(path for path in dataset.factors if path.startswith(camera)) for camera in ("cam1/", "cam3/")):
        infrared = pixels(dataset.counterfactual(path, 1, True))
        assert (infrared == infrared[..., :1]).all()
        visible = pixels(dataset.counterfactual(path, 1, False))
        assert (visible != visible[..., :1]).any()


def test_a_folder_without_true_factors_is_refused(trees, tmp_path):
    with pytest.raises(UserError, match=r"has no drawn.json, so its true factors are unknown; draw a dataset: "):
        open_drawn(tmp_path)
    root = tmp_path / "copy"
    shutil.copytree(trees / "sysu", root)
    manifest = json.loads((root / "drawn.json").read_text())
    (root / "drawn.json").write_text(json.dumps(manifest | {"version": 1}))
    with pytest.raises(UserError, match=r"was drawn by version 1 of the drawing program, and this is version 2; "):
        open_drawn(root)
    (root / "drawn.json").write_text(json.dumps({"version": 2}))
    with pytest.raises(UserError, match=r"is damaged \('seed'\); draw the dataset again"):
        open_drawn(root)
    (root / "factors.csv").unlink()
    with pytest.raises(UserError, match=r"has no factors.csv"):
        open_drawn(root)
