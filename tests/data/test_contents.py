"""What a dataset holds: two trees are compared by their people and images, not by where and when they were written."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from rgbir_jax.data import contents
from rgbir_jax.data.contents import Contents, contents_of
from rgbir_jax.datasets import find_dataset
from tests.conftest import write_image, write_sysu
from tests.disks import read_only

SPLITS = {"train": [1, 2, 3], "val": [4, 5, 6], "test": [7, 8]}


def described(root: Path, dataset: str = "sysu_mm01") -> Contents:
    config = ConfigDict({"dataset": dataset, "data_dir": str(root), "prepared_dir": "", "train_split": "train"})
    return contents_of(config, find_dataset(dataset).read_with(root, config))


@pytest.fixture
def tree(tmp_path):
    return write_sysu(tmp_path / "tree", SPLITS, images=2)


@pytest.fixture
def copy(tree, tmp_path):
    """Copies the tree; all files are younger than those of the original."""
    root = shutil.copytree(tree, tmp_path / "copy")
    for path in root.rglob("*.jpg"):
        os.utime(path, (2e9, 2e9))
    return root


def test_a_copy_is_equal(tree, copy):
    assert described(copy) == described(tree)
    assert described(tree).people == [1, 2, 3]
    assert described(tree).images == [12, 12, 12]
    assert not described(tree).names


def test_images_of_test_identities_do_not_train(tree, copy):
    write_image(copy / "cam1/0007/0003.jpg", 5)
    write_image(copy / "cam3/0009/0001.jpg", 5)
    (copy / "exp/test_id.txt").write_text("7,8,9")
    before, now = described(tree), described(copy)
    assert before.difference(now) == ""
    assert before.parts["test"] != now.parts["test"]
    assert before.parts["val"] == now.parts["val"]


def _remove_an_image(root: Path) -> None:
    (root / "cam2/0002/0001.jpg").unlink()


def _rename_an_image(root: Path) -> None:
    (root / "cam2/0002/0001.jpg").rename(root / "cam2/0002/0003.jpg")


def _change_a_bit(root: Path) -> None:
    path = root / "cam2/0002/0001.jpg"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def _exchange_training_and_validation(root: Path) -> None:
    (root / "exp/train_id.txt").write_text("4,5,6")
    (root / "exp/val_id.txt").write_text("1,2,3")


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (_remove_an_image, "12 images of identity 2, and this dataset has 11"),
        (_rename_an_image, "other images of identity 2 than those of this dataset"),
        (_change_a_bit, "other images of identity 2 than those of this dataset"),
        (_exchange_training_and_validation, "3 other identities than the 3 of this dataset, such as 1"),
    ],
)
def test_other_training_images_are_named(tree, copy, change, difference):
    described(copy)  # the checksums of the unchanged files are kept
    change(copy)
    assert described(tree).difference(described(copy)) == difference


def test_people_of_own_folders_are_compared_by_name(tmp_path):
    for root in ("one", "other", "renamed"):
        for seed, person in enumerate(("anna", "carl", "dora")):
            for kind in ("rgb", "ir"):
                write_image(tmp_path / root / kind / person / "1.png", seed)
        (tmp_path / root / "test.txt").write_text("carl")
    one = described(tmp_path / "one", "folders")
    assert one.names == ["anna", "dora"]
    for kind in ("rgb", "ir"):
        write_image(tmp_path / "other" / kind / "bert" / "1.png", 9)  # dora's number changes, and not her label
        (tmp_path / "renamed" / kind / "dora").rename(tmp_path / "renamed" / kind / "emil")
    (tmp_path / "other" / "test.txt").write_text("bert, carl")
    other = described(tmp_path / "other", "folders")
    assert one.people != other.people
    assert one.difference(other) == ""
    renamed = described(tmp_path / "renamed", "folders")
    assert renamed.people == one.people
    assert one.difference(renamed) == "2 other identities than the 2 of this dataset, such as dora"
    assert one.difference(replace(one, names=["dora", "anna"])).endswith("or the same in another order")


def test_of_older_versions_only_people_are_compared(tree):
    now = described(tree)
    assert Contents(people=[1, 2, 3]).difference(now) == ""
    assert Contents(people=[1, 2, 4]).difference(now) == "3 other identities than the 3 of this dataset, such as 4"


def test_checksums_are_kept_and_replaced_if_they_are_damaged(tree, monkeypatch):
    before = described(tree)
    (kept,) = Path(f"{tree}.prepared").glob(f"*/{contents.FILE}")
    with monkeypatch.context() as patch:
        patch.setattr(contents, "_checksum", lambda root, path: pytest.fail("an image is read again"))
        assert described(tree) == before
    for content in (b"", kept.read_bytes()[:-8]):
        kept.write_bytes(content)
        assert described(tree) == before
    np.save(kept, np.zeros(3, np.uint32))
    assert described(tree) == before
    kept.unlink()
    with read_only(kept.parent):
        assert described(tree) == before


def test_a_tree_without_those_who_train_has_the_same_tests(tree, copy, capsys):
    for split in ("train", "val"):
        (copy / "exp" / f"{split}_id.txt").unlink()
    now = described(copy)
    assert "has nobody to train: it can only be scored." in capsys.readouterr().err
    assert now.people == []
    assert now.parts["test"] == described(tree).parts["test"]
