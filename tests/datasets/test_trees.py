import re
import shutil

import numpy as np
import pytest

from rgbir_jax.datasets.market1501 import read as read_market1501
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
