import re
import shutil

import numpy as np
import pytest

from rgbir_jax.datasets import DATASETS
from rgbir_jax.datasets.market1501 import read as read_market1501
from rgbir_jax.datasets.records import tabulate
from rgbir_jax.datasets.sysu_mm01 import drawn_searches
from rgbir_jax.datasets.sysu_mm01 import read as read_sysu_mm01
from rgbir_jax.errors import UserError


def test_sysu_has_a_row_for_every_listed_image(sysu_root):
    records = read_sysu_mm01(sysu_root)
    on_disk = sorted(path.relative_to(sysu_root).as_posix() for path in sysu_root.glob("cam*/*/*.jpg"))
    assert records.path.tolist() == on_disk
    assert len(records) == 10 * 6 * 3
    for row, path in enumerate(records.path):
        camera, person, number = map(int, re.fullmatch(r"cam(\d)/(\d+)/(\d+)\.jpg", path).groups())
        assert (records.camera[row], records.person_id[row], records.index[row]) == (camera, person, number)
        assert records.modality[row] == (camera in (3, 6))
        expected = "train" if person in (1, 2, 3, 5, 8, 13) else "val" if person in (21, 34) else "test"
        assert records.split[row] == expected


def test_every_camera_of_the_test_identities_is_there(sysu_root):
    records = read_sysu_mm01(sysu_root)
    assert set(records.camera[records.split == "test"]) == {1, 2, 3, 4, 5, 6}


def test_the_number_of_an_image_is_in_its_name(make_sysu):
    """The official galleries refer to it. Sorted as text, 10 comes before 2."""
    root = make_sysu(train=[7])
    shutil.move(root / "cam1/0007/0001.jpg", root / "cam1/0007/10.jpg")
    shutil.move(root / "cam1/0007/0002.jpg", root / "cam1/0007/2.PNG")
    records = read_sysu_mm01(root)
    first_camera = records.select(records.camera == 1)
    assert first_camera.path.tolist() == ["cam1/0007/10.jpg", "cam1/0007/2.PNG"]
    assert first_camera.index.tolist() == [10, 2]


def test_identities_that_no_split_lists_are_left_out(make_sysu):
    root = make_sysu(train=[1, 2])
    (root / "exp" / "train_id.txt").write_text("2")
    assert set(read_sysu_mm01(root).person_id) == {2}


def test_select_takes_rows_or_a_mask(sysu_root):
    records = read_sysu_mm01(sysu_root)
    mask = records.camera == 6
    rows = np.flatnonzero(mask)
    assert records.select(mask).path.tolist() == records.select(rows).path.tolist()
    assert len(records.select(rows[:4])) == 4
    assert records.select(rows).person_id.dtype == np.int32


def test_missing_folder_says_how_to_draw_one(tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist.*eval.py: --data_dir.*rgbir-draw --layout sysu_mm01"):
        read_sysu_mm01(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"nowhere does not exist.*rgbir-draw --layout market1501"):
        read_market1501(tmp_path / "nowhere")


def test_broken_sysu_trees_are_named(make_sysu):
    root = make_sysu(train=[1, 2], test=[3])
    lists = root / "exp"

    (lists / "train_id.txt").write_text("1,2,9")
    with pytest.raises(UserError, match=r"train_id.txt lists identity 9, but there is no cam1..cam6/0009"):
        read_sysu_mm01(root)
    (lists / "train_id.txt").write_text("1,two")
    with pytest.raises(ValueError, match=r'train_id.txt has "two"'):
        read_sysu_mm01(root)
    (lists / "train_id.txt").write_text("1,2,3")
    with pytest.raises(ValueError, match=r"test_id.txt lists identity 3, and so does train_id.txt"):
        read_sysu_mm01(root)
    for split in ("train", "test"):
        (lists / f"{split}_id.txt").write_text("\n")
    with pytest.raises(ValueError, match="exp lists no identity"):
        read_sysu_mm01(root)
    (lists / "val_id.txt").unlink()
    with pytest.raises(UserError, match=r"val_id.txt is missing"):
        read_sysu_mm01(root)
    shutil.rmtree(root / "cam4")
    (lists / "val_id.txt").write_text("1")
    with pytest.raises(UserError, match=r"has no folder cam4"):
        read_sysu_mm01(root)


def test_market_reads_identity_and_camera_from_the_name(market_root):
    records = read_market1501(market_root)
    table = dict(
        zip(
            records.path,
            zip(records.person_id, records.camera, records.index, records.split, strict=True),
            strict=True,
        )
    )
    assert table["bounding_box_train/0002_c1s1_000451_03.jpg"] == (2, 1, 1, "train")
    assert table["bounding_box_train/0002_c1s1_000776_01.jpg"] == (2, 1, 2, "train")
    assert table["bounding_box_train/0002_c2s1_000301_01.jpg"] == (2, 2, 1, "train")
    assert table["query/1501_c6s4_001877_00.jpg"] == (1501, 6, 1, "query")
    assert table["bounding_box_test/0001_c2s1_000201_00.jpg"] == (1, 2, 1, "gallery")
    assert not records.modality.any()
    assert records.path.tolist() == sorted(records.path.tolist())


def test_market_keeps_distractors_and_drops_junk(market_root):
    records = read_market1501(market_root)
    assert len(records) == 10
    assert records.split[records.person_id == 0].tolist() == ["gallery"]
    assert not any("/-1_" in path for path in records.path)


def test_broken_market_trees_are_named(market_root, tmp_path):
    root = tmp_path / "market"
    shutil.copytree(market_root, root)
    (root / "query" / "holiday.jpg").touch()
    with pytest.raises(ValueError, match=r"query/holiday.jpg is not named as Market-1501"):
        read_market1501(root)
    for image in (root / "query").iterdir():
        image.unlink()
    with pytest.raises(UserError, match=r"query has no \*.jpg"):
        read_market1501(root)
    (root / "query").rmdir()
    with pytest.raises(UserError, match=r"has no folder query"):
        read_market1501(root)


def test_images_of_any_format_and_case_are_read(make_sysu, market_root, tmp_path):
    root = make_sysu(train=[1], test=[2])
    for camera, ending in enumerate((".jpeg", ".JPG", ".png", ".bmp", ".TIF", ".webp"), start=1):
        shutil.move(root / f"cam{camera}/0001/0002.jpg", root / f"cam{camera}/0001/0002{ending}")
    (root / "cam1/0001/._0001.jpg").touch()
    records = read_sysu_mm01(root)
    assert len(records) == 24
    assert records.index.tolist() == [1, 2] * 12
    market = shutil.copytree(market_root, tmp_path / "market")
    shutil.move(market / "query/0001_c1s1_001051_00.jpg", market / "query/0001_c1s1_001051_00.JPEG")
    (market / "query/._0001_c1s1_001051_00.jpg").touch()
    assert "query/0001_c1s1_001051_00.JPEG" in read_market1501(market).path


def test_what_is_left_out_is_counted_and_named(make_sysu, market_root, capsys):
    root = make_sysu(train=[1], val=[2], test=[3])
    read_sysu_mm01(root)
    assert capsys.readouterr().err == ""
    for number in range(4):
        (root / f"cam2/0001/note{number}.txt").touch()
    read_sysu_mm01(root)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("left out: 4 (cam2/0001/note0.txt, cam2/0001/note1.txt, cam2/0001/note2.txt, ...).")
    read_market1501(market_root)
    assert "left out: 1 (bounding_box_test/Thumbs.db)" in capsys.readouterr().err


def test_lists_of_any_editor_are_read(make_sysu):
    root = make_sysu(train=[1, 2], val=[5], test=[3, 4])
    (root / "exp/train_id.txt").write_bytes(b"\xef\xbb\xbf1;2\r\n")
    (root / "exp/test_id.txt").write_bytes("3\r\n4\r\n".encode("utf-16"))
    records = read_sysu_mm01(root)
    assert set(records.person_id[records.split == "train"]) == {1, 2}
    assert set(records.person_id[records.split == "test"]) == {3, 4}


def test_numbers_without_zeros_give_the_official_galleries(tmp_path):
    """Sorted as text, 10 and 11 come before 2: the permutations would draw other images."""
    galleries = []
    for name in ("{:04d}.jpg", "{}.jpg"):
        images = [
            (f"cam{camera}/{person:04d}/" + name.format(number), person, camera, int(camera in (3, 6)), "test")
            for camera in range(1, 7)
            for person in (1, 2)
            for number in range(1, 13)
        ]
        root = tmp_path / name
        for path, *_ in images:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        (root / "exp").mkdir()
        for split, people in (("train", ""), ("val", ""), ("test", "1,2")):
            (root / "exp" / f"{split}_id.txt").write_text(people)
        records = read_sysu_mm01(root)
        rng = np.random.default_rng(0)
        permutations = {
            (camera, person): np.array([rng.permutation(12) + 1 for _ in range(10)])
            for camera in range(1, 7)
            for person in (1, 2)
        }
        chosen = drawn_searches(records, "official", permutations)[0].galleries
        galleries.append([[int(records.path[row].split("/")[2][:-4]) for row in rows] for rows in chosen])
    assert galleries[0] == galleries[1]


def test_a_missing_number_is_named_with_the_permutations(make_sysu):
    root = make_sysu(test=[1])
    shutil.move(root / "cam1/0001/0002.jpg", root / "cam1/0001/0003.jpg")
    permutations = {(camera, 1): np.tile([1, 2], (10, 1)) for camera in range(1, 7)}
    message = "Identity 1 has 2 images in camera 1 here, without number 2, but .* names the images 1 to 2"
    with pytest.raises(UserError, match=message):
        drawn_searches(read_sysu_mm01(root), "official", permutations)


@pytest.mark.parametrize("name", ["sysu_mm01", "market1501", "duke", "regdb", "llcm", "folders"])
def test_a_tree_in_another_folder_is_named(name, tmp_path):
    folders = {"sysu_mm01": ["exp", "cam1"], "regdb": ["Visible"], "llcm": ["idx"], "folders": ["rgb", "ir"]}
    for folder in folders.get(name, ["bounding_box_train"]):
        (tmp_path / "copy" / folder).mkdir(parents=True)
    with pytest.raises(UserError, match=rf"the folder copy in it is; set --config.data_dir .* to {tmp_path}/copy\."):
        DATASETS[name].read(tmp_path)


def test_the_home_folder_is_expanded(make_sysu, tmp_path, monkeypatch):
    make_sysu(train=[1])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(read_sysu_mm01("~/sysu")) == 12


def test_nobody_trains_and_is_tested():
    """Whatever the dataset: all readers make their table here."""
    train = ("a.jpg", 1, 1, 0, "train")
    for split in ("test", "query", "gallery"):
        with pytest.raises(UserError, match=r"identity 1 trains \(a.jpg\) and is tested \(b.jpg\)"):
            tabulate([train, ("b.jpg", 1, 1, 0, split)])
    tabulate([train, ("b.jpg", 1, 1, 0, "val")])  # MSMT17's validation images show those who train
    with pytest.raises(UserError, match=r"a.jpg is listed twice"):
        tabulate([train, train])
