"""The trees of DukeMTMC-reID and MSMT17, which Method2 can start from; Market-1501's is tested in test_trees.py."""

import numpy as np
import pytest

from rgbir_jax.datasets import DUKE, MSMT17
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.evaluate import evaluate
from rgbir_jax.evaluation.searches import searches_of
from tests.conftest import write_image

DUKE_NAMES = {
    "bounding_box_train": ["0001_c2_f0046182.jpg", "0001_c2_f0046302.jpg", "0007_c8_f0000001.jpg"],
    "query": ["0005_c1_f0060012.jpg"],
    "bounding_box_test": ["0005_c1_f0060013.jpg", "0005_c4_f0060014.jpg", "7139_c3_f0060015.jpg"],
}
MSMT17_LISTS = {
    ("train", "list_train.txt"): ["0000/0000_000_01_0303morning_0015_0.jpg", "0001/0001_000_15_0303noon_0001_0.jpg"],
    ("train", "list_val.txt"): ["0000/0000_017_05_0303noon_0050_1.jpg"],
    ("test", "list_query.txt"): ["0000/0000_003_01_0303morning_0035_0.jpg"],
    ("test", "list_gallery.txt"): ["0000/0000_005_07_0303noon_0035_0.jpg", "0001/0001_000_01_0302noon_0001_0.jpg"],
}


@pytest.fixture
def duke(tmp_path):
    for seed, (folder, name) in enumerate((f, n) for f, names in DUKE_NAMES.items() for n in names):
        write_image(tmp_path / folder / name, seed)
    return tmp_path


@pytest.fixture(params=[{"train": "train", "test": "test"}, {"train": "mask_train_v2", "test": "mask_test_v2"}])
def msmt17(request, tmp_path):
    """Writes the tree as either release has it."""
    for (folder, file), paths in MSMT17_LISTS.items():
        lines = [f"{path} {int(path[:4])}" for path in paths]
        (tmp_path / file).write_text("\n".join(lines) + "\n")
        for seed, path in enumerate(paths):
            write_image(tmp_path / request.param[folder] / path, seed)
    return tmp_path


def rows(records) -> set:
    columns = (records.person_id, records.camera, records.split)
    return set(zip((path.split("/")[-1] for path in records.path), *(c.tolist() for c in columns), strict=True))


def test_duke_reads_identity_and_camera_from_the_name(duke):
    records = DUKE.read(duke)
    assert rows(records) == {
        ("0001_c2_f0046182.jpg", 1, 2, "train"),
        ("0001_c2_f0046302.jpg", 1, 2, "train"),
        ("0007_c8_f0000001.jpg", 7, 8, "train"),
        ("0005_c1_f0060012.jpg", 5, 1, "query"),
        ("0005_c1_f0060013.jpg", 5, 1, "gallery"),
        ("0005_c4_f0060014.jpg", 5, 4, "gallery"),
        ("7139_c3_f0060015.jpg", 7139, 3, "gallery"),
    }
    assert not records.modality.any()
    assert set(records.person_id[DUKE.training_rows(records, "trainval")]) == {1, 7}


def test_broken_duke_trees_are_named(duke):
    with pytest.raises(UserError, match=r"nowhere does not exist; set --config.data_dir \(eval.py: --data_dir\) to"):
        DUKE.read(duke / "nowhere")
    (duke / "query" / "0005_c1s1_000451_03.jpg").touch()
    with pytest.raises(UserError, match=r"not named as DukeMTMC-reID names its images \(0001_c2_f0046182.jpg\)"):
        DUKE.read(duke)


def test_msmt17_keeps_those_who_train_apart_from_those_who_test(msmt17):
    """The lists call a person who trains and another who tests 0."""
    records = MSMT17.read(msmt17)
    assert rows(records) == {
        ("0000_000_01_0303morning_0015_0.jpg", 1, 1, "train"),
        ("0001_000_15_0303noon_0001_0.jpg", 2, 15, "train"),
        ("0000_017_05_0303noon_0050_1.jpg", 1, 5, "val"),
        ("0000_003_01_0303morning_0035_0.jpg", 10_001, 1, "query"),
        ("0000_005_07_0303noon_0035_0.jpg", 10_001, 7, "gallery"),
        ("0001_000_01_0302noon_0001_0.jpg", 10_002, 1, "gallery"),
    }
    assert len(MSMT17.training_rows(records, "train")) == 2
    assert len(MSMT17.training_rows(records, "trainval")) == 3
    assert not len(MSMT17.rows(records, "val"))


def test_broken_msmt17_trees_are_named(msmt17):
    train = next(folder for folder in ("train", "mask_train_v2") if (msmt17 / folder).is_dir())
    (msmt17 / train / "0000/holiday.jpg").touch()
    (msmt17 / "list_val.txt").write_text("0000/holiday.jpg 0\n")
    with pytest.raises(UserError, match=r"list_val.txt lists \w+/0000/holiday.jpg, which is not named as MSMT17 names"):
        MSMT17.read(msmt17)
    (msmt17 / "list_val.txt").write_text("0000/0000_000_09_0303noon_0001_0.jpg 0\n")
    with pytest.raises(UserError, match=r"list_val.txt, line 1, lists \w+/0000/0000_000_09_.*, which is not there"):
        MSMT17.read(msmt17)
    (msmt17 / "list_val.txt").unlink()
    with pytest.raises(UserError, match=r"has no list_val.txt, which lists images of MSMT17"):
        MSMT17.read(msmt17)
    (msmt17 / train).rename(msmt17 / "other")
    with pytest.raises(UserError, match=r"has neither the folders train and test nor mask_train_v2 and mask_test_v2"):
        MSMT17.read(msmt17)


def check_single_query(dataset, root):
    """The query's person is in another camera of the gallery, and features that tell people apart find it."""
    records = dataset.read(root)
    test = records.select(dataset.rows(records, "test"))
    _, person = np.unique(test.person_id, return_inverse=True)
    scores = evaluate(np.eye(10)[person], test, searches_of(dataset, test, "single_query", None))
    assert list(scores) == ["single_query_trapezoid", "single_query_hits"]
    assert scores["single_query_hits"]["cmc"][0] == 1
    assert scores["single_query_hits"]["counted_probes"] == 1


def test_single_query_of_duke(duke):
    check_single_query(DUKE, duke)


def test_single_query_of_msmt17(msmt17):
    check_single_query(MSMT17, msmt17)
