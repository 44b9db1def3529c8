import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image
from scipy.spatial.distance import cdist

from rgbir_jax import synthetic
from rgbir_jax.datasets import FOLDERS, LLCM, REGDB, SYSU_MM01
from rgbir_jax.datasets.market1501 import read as read_market1501
from rgbir_jax.datasets.sysu_lists import read_ids, read_permutations
from rgbir_jax.datasets.sysu_mm01 import read as read_sysu_mm01
from rgbir_jax.synthetic import draw
from rgbir_jax.synthetic.__main__ import main
from rgbir_jax.synthetic.shot import identity_of, pose_of
from rgbir_jax.synthetic.writing import drawn_with

SMALL = ["--train", "4", "--val", "2", "--test", "3", "--images", "3", "--size", "48", "24", "--seed", "7"]


def draw_tree(out: Path, *arguments: str) -> Path:
    main(["--out", str(out), *SMALL, "--workers", "1", *arguments])
    return out


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def rows_of(root: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((root / "factors.csv").read_text())))


def images(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix in (".jpg", ".bmp"))


@pytest.fixture(scope="module")
def sysu(tmp_path_factory) -> Path:
    return draw_tree(tmp_path_factory.mktemp("drawn") / "sysu")


@pytest.fixture(scope="module")
def market(tmp_path_factory) -> Path:
    return draw_tree(tmp_path_factory.mktemp("drawn") / "market", "--layout", "market1501")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    return draw_tree(tmp_path_factory.mktemp("drawn") / "folders", "--layout", "folders")


@pytest.fixture(scope="module")
def regdb(tmp_path_factory) -> Path:
    return draw_tree(tmp_path_factory.mktemp("drawn") / "regdb", "--layout", "regdb")


@pytest.fixture(scope="module")
def llcm(tmp_path_factory) -> Path:
    return draw_tree(tmp_path_factory.mktemp("drawn") / "llcm", "--layout", "llcm")


@pytest.fixture
def lists(tmp_path) -> tuple[Path, Path]:
    """Returns a rand_perm_cam.mat and a folder with lists: 1 and 2 for training, 4 for testing; 5 and 6 unlisted."""
    counts = {(1, 1): 2, (3, 1): 3, (4, 2): 4, (6, 2): 2, (2, 4): 5, (6, 4): 3, (1, 5): 2, (5, 6): 2, (3, 6): 4}
    rng = np.random.default_rng(0)
    cameras = np.empty((6, 1), object)
    for camera in range(1, 7):
        cell = np.empty((6, 1), object)
        for person in range(1, 7):
            count = counts.get((camera, person), 0)
            rows = [rng.permutation(count) + 1 for _ in range(10)] if count else []
            cell[person - 1, 0] = np.array(rows, np.uint8)
        cameras[camera - 1, 0] = cell
    scipy.io.savemat(tmp_path / "permutations.mat", {"rand_perm_cam": cameras})
    folder = tmp_path / "lists"
    folder.mkdir()
    scipy.io.savemat(folder / "train_id.mat", {"id": np.array([[1, 2]], np.uint16)})
    (folder / "test_id.txt").write_text("4\n")
    return tmp_path / "permutations.mat", folder


def test_the_reader_reads_the_tree(sysu):
    records = read_sysu_mm01(sysu)
    assert records.path.tolist() == images(sysu)
    splits = {1: "train", 2: "train", 3: "train", 4: "train", 5: "val", 6: "val", 7: "test", 8: "test", 9: "test"}
    assert dict(zip(records.person_id.tolist(), records.split.tolist(), strict=True)) == splits
    assert (sysu / "exp" / "available_id.txt").read_text() == "1,2,3,4,5,6,7,8,9\n"
    assert read_ids(sysu / "exp" / "test_id.txt").tolist() == [7, 8, 9]


def test_the_permutations_match_the_images_in_the_tree(sysu):
    permutations = read_permutations(sysu / "rand_perm_cam.mat")
    counts = {}
    for path in images(sysu):
        camera, person = map(int, re.match(r"cam(\d)/(\d{4})/", path).groups())
        counts[camera, person] = counts.get((camera, person), 0) + 1
    assert {key: rows.shape for key, rows in permutations.items()} == {key: (10, n) for key, n in counts.items()}
    assert len({rows.tobytes() for rows in permutations.values()}) > 1


def test_infrared_files_are_grey_and_the_others_are_not(sysu):
    for path in images(sysu):
        picture = np.asarray(Image.open(sysu / path))
        assert picture.shape == (48, 24, 3)
        assert (picture == picture[..., :1]).all() == (path[:4] in ("cam3", "cam6"))


def test_the_same_arguments_give_the_same_bytes(sysu, tmp_path):
    again = contents(draw_tree(tmp_path / "again"))
    assert again == contents(sysu)
    other = contents(draw_tree(tmp_path / "other", "--seed", "8"))
    assert not {again[path] for path in images(sysu)} & set(other.values())
    assert not list(tmp_path.rglob("*/.unfinished"))


def test_a_killed_run_resumes_to_the_same_bytes(tmp_path):
    arguments = ["--train", "8", "--val", "0", "--test", "2", "--images", "8", "--size", "64", "32"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        [sys.executable, "-m", "rgbir_jax.synthetic", "--out", str(killed), *arguments, "--workers", "2"],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while len(images(killed)) < 20 and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    survivors = images(killed)
    (killed / ".unfinished" / "12345").write_bytes(b"half an image")

    main(["--out", str(whole), *arguments, "--workers", "1"])
    assert 20 <= len(survivors) < len(images(whole))
    times = {path: (killed / path).stat().st_mtime_ns for path in survivors}
    main(["--out", str(killed), *arguments, "--workers", "1"])
    assert {path: (killed / path).stat().st_mtime_ns for path in survivors} == times  # none is drawn twice
    assert contents(killed) == contents(whole)


def test_another_datasets_folder_is_refused(sysu, tmp_path):
    before = contents(sysu)
    for arguments, names in (
        (["--seed", "8"], "seed"),
        (["--size", "64", "24"], "size"),
        (["--images", "4", "--test", "2"], "images, test"),
        (["--layout", "market1501"], "layout"),
    ):
        message = rf"drawn with other arguments \({names}\); choose another --out or remove the folder"
        with pytest.raises(SystemExit, match=message):
            draw_tree(sysu, *arguments)
    assert contents(sysu) == before
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(SystemExit, match="is not empty and was not drawn by this program"):
        draw_tree(tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"rgbir-draw: .*file cannot be written \(Not a directory\); make room"):
        main(["--out", str(tmp_path / "file"), *SMALL, "--workers", "1"])


def test_what_a_dataset_was_drawn_with(sysu, tmp_path):
    assert drawn_with(sysu).items() >= {"seed": 7, "layout": "sysu_mm01"}.items()
    assert drawn_with(tmp_path) == {}  # not drawn by this program
    for damaged in ("", "{", "3", "null", '"seed"'):
        (tmp_path / "drawn.json").write_text(damaged)
        assert drawn_with(tmp_path) == {}


def test_damaged_notes_of_a_dataset_are_named(sysu, tmp_path):
    (tmp_path / "drawn.json").write_text('{"layout": "sy')
    with pytest.raises(SystemExit, match=r"drawn.json is damaged .*; remove .* and draw it again"):
        main(["--out", str(tmp_path), *SMALL, "--workers", "1"])


def test_a_dataset_of_an_older_version_is_refused(sysu, tmp_path):
    root = tmp_path / "older"
    shutil.copytree(sysu, root)
    manifest = json.loads((root / "drawn.json").read_text())
    (root / "drawn.json").write_text(json.dumps(manifest | {"version": 0}))
    with pytest.raises(SystemExit, match=r"drawn with other arguments \(version\)"):
        draw_tree(root)


def _camera_of(pattern: str, infrared: str):
    """Returns a function from a path to its camera's number and whether it sees infrared."""

    def camera_of(path: str) -> tuple[str, bool]:
        return re.search(pattern, path)[1], re.match(infrared, path) is not None

    return camera_of


CAMERA_OF = {
    "sysu": _camera_of(r"cam(\d)/", r"cam[36]/"),
    "market": _camera_of(r"_c(\d)s", r"nothing"),
    "llcm": _camera_of(r"_c0(\d)_", r"nir/"),
    "folders": _camera_of(r"cam(\d)_", r"ir/"),
    "regdb": lambda path: ("2", True) if path.startswith("Thermal/") else ("1", False),
}


@pytest.mark.parametrize("layout", CAMERA_OF)
def test_factors_describe_every_image(layout, request):
    root = request.getfixturevalue(layout)
    rows = rows_of(root)
    assert sorted(row["path"] for row in rows) == images(root)
    people = {}
    poses = set()
    for row in rows:
        number, infrared = CAMERA_OF[layout](row["path"])
        assert row["camera.number"] == number
        assert row["camera.infrared"] == str(int(infrared))
        identity = tuple(value for name, value in row.items() if name.startswith("identity."))
        assert people.setdefault(row["person"], identity) == identity  # independent of camera and pose
        poses.add(tuple(value for name, value in row.items() if name.startswith("pose.")))
    assert len(set(people.values())) == len(people)
    assert len(poses) == len(rows)


def test_the_factors_match_the_picture(sysu):
    for row in rows_of(sysu)[::11]:
        shot = synthetic.Shot(
            row["path"],
            int(row["person"]),
            synthetic.SYSU_CAMERAS[int(row["camera.number"]) - 1],
            int(row["number"]),
        )
        identity = identity_of(shot.person, 7)
        pose, grain = pose_of(shot, 7)
        assert row["identity.hair"] == identity.hair
        assert float(row["identity.upper.main.infrared"]) == pytest.approx(identity.upper.main.infrared, abs=1e-4)
        assert float(row["identity.skin.colour.g"]) == pytest.approx(identity.skin.colour[1], abs=1e-4)
        assert (row["pose.view"], row["pose.occluder"], int(row["seed"])) == (pose.view, pose.occluder, grain)
        assert float(row["pose.phase"]) == pytest.approx(pose.phase, abs=1e-4)
        picture = draw(identity, pose, shot.camera, grain, (48, 24)).astype(int)
        on_disk = np.asarray(Image.open(sysu / row["path"])).astype(int)
        assert abs(picture - on_disk).mean() < 8  # JPEG


@pytest.mark.parametrize("sizes", [(30, 10, 20), (1, 0, 0), (0, 0, 1)])
def test_everybody_is_seen_in_both_modalities(sizes):
    plan = synthetic.sysu_plan(*sizes, images=5, seed=3)
    shots = {}
    for shot in plan.shots:
        shots.setdefault((shot.person, shot.camera), []).append(shot.number)
    assert all(numbers == [1, 2, 3, 4, 5] for numbers in shots.values())
    everybody = set(range(1, sum(sizes) + 1))
    for infrared in (False, True):
        assert {person for person, camera in shots if camera.infrared == infrared} == everybody
    if sum(sizes) > 20:
        assert 0.75 < len(shots) / (6 * sum(sizes)) < 0.97  # not every camera sees everybody


def test_a_camera_that_sees_nobody_has_a_folder(tmp_path):
    plan = synthetic.sysu_plan(1, 0, 0, images=2, seed=5)
    assert len(plan.shots) < 12
    synthetic.write(plan, tmp_path, seed=5, size=(16, 16), arguments={}, workers=1)
    assert len(read_sysu_mm01(tmp_path)) == len(plan.shots)


def test_market_tree(market):
    records = read_market1501(market)
    junk = [path for path in images(market) if "/-1_" in path]
    assert len(junk) == 3
    assert len(records) + len(junk) == len(images(market))
    by_split = {split: records.select(records.split == split) for split in ("train", "query", "gallery")}
    assert set(by_split["train"].person_id) == {1, 2, 3, 4}
    assert set(by_split["query"].person_id) == {5, 6, 7}
    assert set(by_split["gallery"].person_id) == {0, 5, 6, 7}
    queries = list(zip(by_split["query"].person_id, by_split["query"].camera, strict=True))
    assert len(queries) == len(set(queries))
    gallery = by_split["gallery"]
    for person, camera in queries:
        assert ((gallery.person_id == person) & (gallery.camera != camera)).any()
    assert all("_c" in path for path in junk)


def test_regdb_tree(regdb):
    """Every fold divides all images by person, and no two folds do it the same way."""
    test_people = set()
    for fold in range(1, 11):
        records = REGDB.read(regdb, fold=fold)
        assert records.path.tolist() == images(regdb)
        people = {split: set(records.person_id[records.split == split].tolist()) for split in ("train", "test")}
        assert (len(people["train"]), len(people["test"])) == (4, 3)
        assert people["train"] | people["test"] == set(range(1, 8))
        test_people.add(tuple(sorted(people["test"])))
    assert len(test_people) > 5
    assert set(zip(records.camera.tolist(), records.modality.tolist(), strict=True)) == {(1, 0), (2, 1)}
    labels = [line.split()[1] for line in (regdb / "idx/test_thermal_4.txt").read_text().splitlines()]
    assert labels == ["0"] * 3 + ["1"] * 3 + ["2"] * 3
    for path in images(regdb):
        with Image.open(regdb / path) as image:
            assert (image.format, image.size) == ("BMP", (24, 48))
            grey = np.asarray(image)
        assert (grey == grey[..., :1]).all() == path.startswith("Thermal")
        content = (regdb / path).read_bytes()
        assert int.from_bytes(content[2:6], "little") == len(content)  # as the header of a BMP says


def test_folders_tree(folders, capsys):
    """Its lists and its table of cameras fit it."""
    records = FOLDERS.read(folders)
    assert capsys.readouterr().err == ""
    assert records.path.tolist() == images(folders)
    people = {split: set(records.person_id[records.split == split].tolist()) for split in ("train", "val", "test")}
    assert people == {"train": {1, 2, 3, 4}, "val": {5, 6}, "test": {7, 8, 9}}
    assert set(zip(records.camera.tolist(), records.modality.tolist(), strict=True)) == {
        (1, 0), (2, 0), (3, 1), (4, 0), (5, 0), (6, 1)
    }  # fmt: skip


def test_llcm_tree(llcm):
    records = LLCM.read(llcm)
    assert records.path.tolist() == images(llcm)
    assert set(records.person_id[records.split == "train"]) == {1, 2, 3, 4}
    assert set(records.person_id[records.split == "test"]) == {5, 6, 7}
    assert set(records.camera) <= set(range(1, 10))
    for person in range(1, 8):
        for modality in (0, 1):
            seen = (records.person_id == person) & (records.modality == modality)
            assert len(np.unique(records.camera[seen])) >= 2  # the own camera is hidden from a probe
    for path in images(llcm):
        grey = np.asarray(Image.open(llcm / path))
        assert (grey == grey[..., :1]).all() == path.startswith("nir/")


def test_the_default_size_is_that_of_the_dataset(tmp_path):
    for layout, size in (("regdb", [128, 64]), ("llcm", [256, 128])):
        out = tmp_path / layout
        main(["--out", str(out), "--layout", layout, "--train", "1", "--test", "1", "--images", "2", "--workers", "1"])
        assert json.loads((out / "drawn.json").read_text())["size"] == size


def test_nobody_is_in_the_trees_of_two_datasets(sysu, market, regdb, llcm):
    people = [{row["person"] for row in rows_of(root)} for root in (sysu, market, regdb, llcm)]
    assert len(set.union(*people)) == sum(map(len, people))


def test_exact_copies_people_cameras_counts_and_permutations(lists, tmp_path):
    rand_perm, folder = lists
    root = draw_tree(tmp_path / "exact", "--exact", str(rand_perm), "--ids", str(folder))
    assert (root / "rand_perm_cam.mat").read_bytes() == rand_perm.read_bytes()
    records = read_sysu_mm01(root)
    splits = dict(zip(records.person_id.tolist(), records.split.tolist(), strict=True))
    assert splits == {1: "train", 2: "train", 4: "test", 6: "val"}  # no infrared camera sees 5
    for (camera, person), rows in read_permutations(rand_perm).items():
        count = ((records.camera == camera) & (records.person_id == person)).sum()
        assert count == (rows.shape[1] if person != 5 else 0)

    draw_tree(root, "--exact", str(rand_perm), "--ids", str(folder))  # nothing is left to do
    (folder / "val_id.txt").write_text("6")
    draw_tree(root, "--exact", str(rand_perm), "--ids", str(folder))  # the same people, now from a list
    (folder / "val_id.txt").write_text("5")
    with pytest.raises(SystemExit, match=r"drawn with other arguments \(exact\)"):
        draw_tree(root, "--exact", str(rand_perm), "--ids", str(folder))


def test_exact_errors(lists, tmp_path):
    rand_perm, folder = lists
    out = tmp_path / "out"
    (folder / "val_id.txt").write_text("3")
    with pytest.raises(SystemExit, match=r"lists identity 3, which .*permutations.mat does not contain"):
        draw_tree(out, "--exact", str(rand_perm), "--ids", str(folder))
    (folder / "test_id.txt").unlink()
    with pytest.raises(SystemExit, match=r"has neither test_id.mat nor test_id.txt; copy one of them there"):
        draw_tree(out, "--exact", str(rand_perm), "--ids", str(folder))
    with pytest.raises(SystemExit, match=r"nowhere.mat is not there; it comes with"):
        draw_tree(out, "--exact", str(tmp_path / "nowhere.mat"), "--ids", str(folder))
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "-1"], "--train, --val and --test must not be negative"),
        (["--train", "0", "--val", "0", "--test", "0"], "at least one of them must be positive"),
        (["--images", "1"], "--images must be at least 2"),
        (["--size", "8", "24"], "--size must be at least 16 in both directions"),
        (["--seed", "-1"], "--seed and --workers must not be negative"),
        (["--workers", "-1"], "--seed and --workers must not be negative"),
        (["--exact", "rand_perm_cam.mat"], "--exact and --ids must be used together"),
        (["--ids", "exp"], "--exact and --ids must be used together"),
        (["--layout", "market1501", "--test", "0"], "needs at least one identity each for --train and --test"),
        (["--layout", "llcm", "--train", "0"], "--layout llcm needs at least one identity each for --train and --test"),
        (["--layout", "cuhk03"], "invalid choice: 'cuhk03'"),
    ],
)
def test_the_command_line_refuses_what_it_cannot_draw(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        draw_tree(tmp_path / "out", *arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_raw_pixels_match_across_cameras_but_not_across_modalities():
    """Compares rank-1 of nearest neighbours in other cameras: 32 people, images of 32x16 pixels. Chance is 1/32."""
    seed, people = 0, 32
    plan = synthetic.sysu_plan(0, 0, people, images=2, seed=seed)
    pixels = []
    for shot in plan.shots:
        pose, grain = pose_of(shot, seed)
        picture = Image.fromarray(draw(identity_of(shot.person, seed), pose, shot.camera, grain))
        pixels.append(np.asarray(picture.resize((16, 32), Image.Resampling.BOX), np.float32).ravel() / 255)
    pixels = np.stack(pixels)
    person = np.array([shot.person for shot in plan.shots])
    camera = np.array([shot.camera.number for shot in plan.shots])
    infrared = np.isin(camera, (3, 6))

    def rank1(probes):
        distance = cdist(pixels[probes], pixels[~infrared])
        distance[camera[probes][:, None] == camera[~infrared]] = np.inf
        return np.mean(person[~infrared][distance.argmin(axis=1)] == person[probes])

    assert rank1(infrared) < 3 / people
    assert rank1(~infrared) > 5 / people


@pytest.mark.parametrize("dataset", [SYSU_MM01, REGDB, LLCM])
def test_a_drawn_tree_is_known_as_drawn_without_its_notes(dataset, tmp_path):
    """The images themselves say so, whatever is removed next to them."""
    draw_tree(tmp_path / "tree", "--train", "2", "--val", "0", "--test", "2", "--images", "2", "--size", "32", "16",
              "--layout", dataset.name)  # fmt: skip
    for name in ("factors.csv", "drawn.json"):
        (tmp_path / "tree" / name).unlink()
    records = dataset.read(tmp_path / "tree")
    assert dataset.title_of(tmp_path / "tree", records) == f"{dataset.title} (drawn)"
    Image.new("RGB", (16, 32)).save(tmp_path / "tree" / records.path[0])
    assert SYSU_MM01.title_of(tmp_path / "tree", records) == "SYSU-MM01"
