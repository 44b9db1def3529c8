"""RegDB and LLCM: their trees, what is wrong with broken ones, and their protocols against plain loops."""

import random
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from rgbir_jax.data.sources import fingerprint
from rgbir_jax.datasets import LLCM, REGDB
from rgbir_jax.datasets.records import IR, RGB, Records, tabulate
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.evaluate import evaluate
from tests.conftest import write_image

WORDS = {"visible": ("Visible", "v"), "thermal": ("Thermal", "t")}


def regdb_path(word: str, person: int, number: int) -> str:
    folder, letter = WORDS[word]
    return f"{folder}/{person}/male_front_{letter}_{number:05d}_{person}.bmp"


def write_regdb(root: Path, folds: dict[int, tuple[list[int], list[int]]]) -> Path:
    """Writes two images of each person in each modality, and the lists of (training, test) people of each fold."""
    (root / "idx").mkdir(parents=True)
    for fold, parts in folds.items():
        for split, people in zip(("train", "test"), parts, strict=True):
            for word in WORDS:
                lines = [
                    f"{regdb_path(word, person, number)} {label}"
                    for label, person in enumerate(people)
                    for number in (7, 12)
                ]
                (root / f"idx/{split}_{word}_{fold}.txt").write_text("\n".join(lines) + "\n")
    for person in sorted({person for parts in folds.values() for people in parts for person in people}):
        for word in WORDS:
            for number in (7, 12):
                write_image(root / regdb_path(word, person, number), 100 * person + number, grey=word == "thermal")
    return root


@pytest.fixture
def regdb(tmp_path) -> Path:
    return write_regdb(tmp_path / "RegDB", {1: ([1, 2], [3, 12]), 2: ([2, 12], [1, 3])})


def by_path(records: Records) -> dict:
    columns = (records.person_id, records.camera, records.index, records.modality, records.split)
    return dict(zip(records.path.tolist(), zip(*(column.tolist() for column in columns), strict=True), strict=True))


def test_regdb_takes_the_person_from_the_folder(regdb):
    """The labels in the lists are 0 and 1 for those who train and for those who test."""
    table = by_path(REGDB.read(regdb))
    assert table == {
        regdb_path(word, person, number): (person, camera, index, modality, "train" if person < 3 else "test")
        for word, camera, modality in (("visible", 1, RGB), ("thermal", 2, IR))
        for person in (1, 2, 3, 12)
        for index, number in ((1, 7), (2, 12))
    }


def test_folds_split_the_same_images_otherwise(regdb):
    first, second = (REGDB.read(regdb, fold=fold) for fold in (1, 2))
    assert fingerprint(regdb, first) == fingerprint(regdb, second)
    people = [set(fold.person_id[REGDB.training_rows(fold, "trainval")]) for fold in (first, second)]
    assert people == [{1, 2}, {2, 12}]
    assert set(second.person_id[REGDB.rows(second, "test")]) == {1, 3}
    assert not len(REGDB.rows(first, "val"))


def test_index_files_of_any_editor_are_read(regdb):
    expected = by_path(REGDB.read(regdb))
    for number, path in enumerate(sorted((regdb / "idx").glob("*_1.txt"))):
        text = path.read_text().replace("\n", "\r\n")
        path.write_bytes(text.encode("utf-16" if number % 2 else "utf-8-sig"))
    assert by_path(REGDB.read(regdb)) == expected


@pytest.mark.parametrize("fold", [0, 11])
def test_a_fold_that_does_not_exist_is_refused_before_the_tree_is_read(fold):
    with pytest.raises(UserError, match=rf"config.fold {fold} is unknown; choose 1, 2, .* or 10"):
        REGDB.read(Path("nowhere"), fold=fold)


def test_datasets_without_folds_ignore_it(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        LLCM.read_with(tmp_path / "nowhere", ConfigDict({"fold": 7}))


REGDB_FAULTS = {
    "no_list": (lambda root: (root / "idx/test_thermal_1.txt").unlink(), "has no idx/test_thermal_1.txt, which lists"),
    "empty_list": (lambda root: (root / "idx/test_thermal_1.txt").write_text("\n"), "thermal_1.txt lists no image"),
    "no_image": (
        lambda root: (root / regdb_path("thermal", 3, 7)).unlink(),
        r"idx/test_thermal_1.txt, line 1, lists Thermal/3/male_front_t_00007_3.bmp, which is not there; complete",
    ),
    "no_label": (
        lambda root: (root / "idx/train_visible_1.txt").write_text(f"\n{regdb_path('visible', 1, 7)}\n"),
        r'idx/train_visible_1.txt, line 2: "Visible/1/.*" is not a path and a label',
    ),
    "twice": (
        lambda root: (root / "idx/train_visible_1.txt").write_text(f"{regdb_path('visible', 1, 7)} 0\n" * 2),
        r"train_visible_1.txt, line 2, lists Visible/1/male_front_v_00007_1.bmp again",
    ),
    "other_modality": (
        lambda root: (root / "idx/train_visible_1.txt").write_text(f"{regdb_path('thermal', 1, 7)} 0\n"),
        r"train_visible_1.txt lists Thermal/1/.* is not named as RegDB names its images \(Visible/7/",
    ),
    "both_splits": (
        lambda root: (root / "idx/test_visible_1.txt").write_text(f"{regdb_path('visible', 2, 7)} 0\n"),
        r"idx/test_visible_1.txt lists identity 2, and so does idx/train_visible_1.txt; take it off one of them",
    ),
    "no_folder": (lambda root: (root / "Thermal").rename(root / "thermal"), "has no folder Thermal; it is not a whole"),
}


@pytest.mark.parametrize("fault", REGDB_FAULTS)
def test_broken_regdb_trees_are_named(regdb, fault):
    damage, message = REGDB_FAULTS[fault]
    damage(regdb)
    with pytest.raises(UserError, match=message):
        REGDB.read(regdb)


def test_a_missing_fold_or_folder_is_named(regdb):
    with pytest.raises(UserError, match=r"has no idx/train_visible_3.txt"):
        REGDB.read(regdb, fold=3)
    with pytest.raises(UserError, match=r"nowhere does not exist.*rgbir-draw --layout regdb"):
        REGDB.read(regdb / "nowhere")


def llcm_path(modality: str, person: int, camera: int, frame: int) -> str:
    return f"{modality}/{person:04d}/{person:04d}_c{camera:02d}_s200656_f{frame:04d}_{modality}.jpg"


@pytest.fixture
def llcm(tmp_path) -> Path:
    root = tmp_path / "LLCM"
    (root / "idx").mkdir(parents=True)
    for split, people in (("train", (1, 2)), ("test", (351, 1064))):
        for modality in ("vis", "nir"):
            lines = []
            for label, person in enumerate(people):
                for camera in (1, 6):
                    path = llcm_path(modality, person, camera, 4830)
                    write_image(root / path, person + camera, grey=modality == "nir")
                    lines.append(f"{path} {label}")
            (root / f"idx/{split}_{modality}.txt").write_text("\n".join(lines))
    return root


def test_llcm_takes_the_person_from_the_folder_and_the_camera_from_the_name(llcm):
    records = LLCM.read(llcm)
    assert len(records) == 16
    table = by_path(records)
    assert table[llcm_path("nir", 351, 6, 4830)] == (351, 6, 1, IR, "test")
    assert table[llcm_path("vis", 351, 6, 4830)] == (351, 6, 1, RGB, "test")
    assert table[llcm_path("vis", 2, 1, 4830)] == (2, 1, 1, RGB, "train")
    assert set(records.person_id[LLCM.training_rows(records, "train")]) == {1, 2}


LLCM_FAULTS = {
    "no_list": (lambda root: (root / "idx/train_nir.txt").unlink(), "has no idx/train_nir.txt, which lists images of"),
    "no_lists": (lambda root: (root / "idx").rename(root / "index"), "has no folder idx; it is not a whole copy of LL"),
    "no_image": (
        lambda root: (root / llcm_path("nir", 2, 6, 4830)).unlink(),
        r"idx/train_nir.txt, line 4, lists nir/0002/0002_c06_.*, which is not there",
    ),
    "no_camera": (
        lambda root: (root / "idx/train_vis.txt").write_text("vis/0001/a.jpg 0"),
        r"train_vis.txt lists vis/0001/a.jpg, which is not named as LLCM names its images \(nir/0351/0351_c06_",
    ),
    "both_splits": (
        lambda root: (root / "idx/test_nir.txt").write_text(f"{llcm_path('nir', 1, 1, 4830)} 0"),
        r"idx/test_nir.txt lists identity 1, and so does idx/train_vis.txt",
    ),
}


@pytest.mark.parametrize("fault", LLCM_FAULTS)
def test_broken_llcm_trees_are_named(llcm, fault):
    damage, message = LLCM_FAULTS[fault]
    (llcm / "vis/0001/a.jpg").touch()
    damage(llcm)
    with pytest.raises(UserError, match=message):
        LLCM.read(llcm)


def features_of(records: Records, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(records.person_id.max() + 1, 6))
    return rng.normal(size=(len(records), 6)) + 0.7 * centres[records.person_id]


def plain_scores(records: Records, features: np.ndarray, modality: int, gallery: list[int], llcm: bool) -> np.ndarray:
    """Ranks probe by probe. Returns the means of (rank-1, rank-3, AP, inverse penalty) of those with a match."""
    figures = []
    for probe in np.flatnonzero(records.modality == modality):
        person, camera = records.person_id[probe], records.camera[probe]
        seen = [g for g in gallery if not (llcm and records.person_id[g] == person and records.camera[g] == camera)]
        seen.sort(key=lambda g: np.linalg.norm(features[g] - features[probe]))
        ranked = [int(records.person_id[g]) for g in seen]
        hits = [k for k, other in enumerate(ranked) if other == person]
        if hits:
            first = list(dict.fromkeys(ranked)).index(person) if llcm else hits[0]
            precision = np.mean([(n + 1) / (k + 1) for n, k in enumerate(hits)])
            figures.append((first < 1, first < 3, precision, len(hits) / (hits[-1] + 1)))
    return np.mean(figures, axis=0)


def figures_of(score: dict) -> list[float]:
    return [score["cmc"][0], score["cmc"][2], score["mAP"], score["mINP"]]


def test_regdb_ranks_all_images_in_both_directions():
    images = [
        (f"{modality}/{person}/{number}", person, modality + 1, modality, "test")
        for modality in (RGB, IR)
        for person in range(1, 10)
        for number in range(4)
    ]
    records = tabulate(images)
    features = features_of(records)
    searches = REGDB.searches(records, "all_images", Path())
    scores = evaluate(features, records, searches)
    assert list(scores) == ["visible_to_thermal", "thermal_to_visible"]
    for (name, score), modality in zip(scores.items(), (RGB, IR), strict=True):
        gallery = np.flatnonzero(records.modality != modality).tolist()
        expected = plain_scores(records, features, modality, gallery, llcm=False)
        assert figures_of(score) == pytest.approx(expected.tolist(), abs=1e-12), name
        assert (score["probe_images"], score["gallery_images"], len(score["trials"])) == (36, 36, 1)
    assert scores["visible_to_thermal"]["mAP"] != scores["thermal_to_visible"]["mAP"]


def test_llcm_draws_one_image_of_each_person_and_camera_and_hides_the_own_camera():
    rng = np.random.default_rng(1)
    images = []
    for person in range(1, 9):
        for modality, word in ((RGB, "vis"), (IR, "nir")):
            for camera in np.flatnonzero(rng.random(9) < 0.5) + 1:
                for frame in rng.choice(1000, rng.integers(1, 5), replace=False):
                    images.append(
                        (llcm_path(word, person, int(camera), int(frame)), person, int(camera), modality, "test")
                    )
    records = tabulate(images)
    features = features_of(records)
    scores = evaluate(features, records, LLCM.searches(records, "seeded", Path()))
    assert list(scores) == ["visible_to_infrared", "infrared_to_visible"]
    for (name, score), modality in zip(scores.items(), (RGB, IR), strict=True):
        word = "nir" if modality == RGB else "vis"
        row_of = {path: row for row, path in enumerate(records.path.tolist())}
        trials = []
        for trial in range(10):
            random.seed(trial)
            gallery = []
            for person in range(1, 9):
                for camera in range(1, 10):
                    start = f"{word}/{person:04d}/{person:04d}_c{camera:02d}_"
                    if files := sorted(path for path in row_of if path.startswith(start)):
                        gallery.append(row_of[random.choice(files)])
            trials.append(plain_scores(records, features, modality, gallery, llcm=True))
        expected = np.mean(trials, axis=0)
        assert figures_of(score) == pytest.approx(expected.tolist(), abs=1e-12), name
        assert score["std"]["mAP"] == pytest.approx(np.std(trials, axis=0)[2], abs=1e-12)
        assert len(score["trials"]) == 10
        assert score["gallery_images"] == len(gallery)
