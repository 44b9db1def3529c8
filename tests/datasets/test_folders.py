"""One's own folders: who trains, who is tested, which camera took an image, and what a probe sees."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from rgbir_jax.data.decoding import decode
from rgbir_jax.datasets import DATASETS, FOLDERS
from rgbir_jax.datasets.folders import person_numbers
from rgbir_jax.datasets.records import IR, RGB, tabulate
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.evaluate import evaluate
from tests.conftest import write_image

PEOPLE = ("Zoë", "anna b", "emil", "fay", "gus", "hal", "ida", "jan")


def plant(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


@pytest.fixture
def tree(tmp_path) -> Path:
    return plant(
        tmp_path / "Photos", *(f"{kind}/{name}/{n}.png" for kind in ("rgb", "ir") for name in PEOPLE for n in (1, 2))
    )


def split_of(records) -> dict[str, str]:
    return dict(zip((path.split("/")[1] for path in records.path), records.split.tolist(), strict=True))


def members(records, split: str) -> set[str]:
    return {name for name, part in split_of(records).items() if part == split}


def test_names_that_are_numbers_are_kept_and_others_numbered(tree, tmp_path):
    assert person_numbers(FOLDERS.read(tree)) == {name: number for number, name in enumerate(sorted(PEOPLE), start=1)}
    numbered = plant(tmp_path / "b", *(f"{kind}/{name}/1.bmp" for kind in ("rgb", "ir") for name in ("12", "007", "3")))
    assert set(FOLDERS.read(numbered).person_id) == {3, 7, 12}
    plant(numbered, "rgb/0/1.bmp", "ir/0/1.bmp")  # 0 is nobody elsewhere
    assert person_numbers(FOLDERS.read(numbered)) == {"0": 1, "007": 2, "12": 3, "3": 4}


def test_every_format_that_pillow_reads_is_accepted_in_any_case(tmp_path):
    names = ("a.jpeg", "b.JPG", "c.png", "d.Bmp", "e.tiff", "f.webp", "g.gif", "deep/er/h.PPM")
    for kind in ("rgb", "ir"):
        for person in ("1", "2"):
            for seed, name in enumerate(names):
                write_image(tmp_path / kind / person / name, seed)
    plant(tmp_path, "rgb/1/._a.jpeg", "rgb/1/.hidden/x.png", "rgb/.DS_Store")
    records = FOLDERS.read(tmp_path)
    own = records.path[(records.modality == RGB) & (records.person_id == 2)]
    assert set(own.tolist()) == {f"rgb/2/{name}" for name in names}
    assert len(records) == 4 * len(names)
    assert all(decode(tmp_path / path, (8, 4)).shape == (8, 4, 3) for path in records.path)


def test_a_share_of_the_persons_is_tested_and_the_seed_chooses_them(tree):
    records = FOLDERS.read(tree, test_share=0.25, val_share=0.125)
    assert [len(members(records, split)) for split in ("train", "val", "test")] == [5, 1, 2]
    assert split_of(records) == split_of(FOLDERS.read(tree, test_share=0.25, val_share=0.125))
    drawn = {frozenset(members(FOLDERS.read(tree, split_seed=seed), "test")) for seed in range(10)}
    assert len(drawn) > 3
    assert not members(FOLDERS.read(tree), "val")


def test_lists_take_precedence(tree):
    (tree / "test.txt").write_bytes("Zoe\u0308\r\nanna b\r\n".encode("utf-16"))  # as another system spells Zoë
    (tree / "val.txt").write_text("\ufeffemil;", encoding="utf-8")
    records = FOLDERS.read(tree, test_share=0.9)
    assert members(records, "test") == {"Zoë", "anna b"}
    assert members(records, "val") == {"emil"}
    assert len(members(records, "train")) == 5


def test_without_a_test_list_the_rest_is_tested(tree):
    (tree / "train.txt").write_text("fay\ngus\n")
    assert members(FOLDERS.read(tree), "train") == {"fay", "gus"}
    assert len(members(FOLDERS.read(tree), "test")) == 6


def test_a_person_in_one_modality_is_a_distractor_and_does_not_train(tree, capsys):
    shutil.rmtree(tree / "ir/fay")
    for seed in range(5):
        records = FOLDERS.read(tree, split_seed=seed)
        assert split_of(records)["fay"] == "test"
        assert len(members(records, "train")) == 5
        (line,) = capsys.readouterr().err.splitlines()
        assert "persons to test who have images of one modality only: 1 (fay). They cannot be found: as probes" in line
    (tree / "test.txt").write_text("gus")
    assert "fay" not in split_of(FOLDERS.read(tree))
    assert "persons to train who have images of one modality only, left out: 1 (fay)" in capsys.readouterr().err


def test_a_listed_person_in_one_modality_is_not_counted_and_distracts(tree):
    """What the reader says of such a person is so."""
    for name in ("fay", "gus"):
        shutil.rmtree(tree / {"fay": "ir", "gus": "rgb"}[name] / name)
    (tree / "test.txt").write_text("fay\ngus\nhal\nida\n")
    records = FOLDERS.read(tree)
    test = records.select(FOLDERS.rows(records, "test"))
    scores = evaluate(np.eye(len(test)), test, FOLDERS.searches(test, "all_images", Path()))
    assert scores["ir_to_rgb"]["counted_probes"] == 4  # two images each of hal and ida
    assert scores["ir_to_rgb"]["probe_images"] == 6
    assert scores["ir_to_rgb"]["gallery_images"] == 6


def test_cameras_come_from_names_a_table_or_nowhere(tmp_path):
    paths = [f"{kind}/{p}/c{camera}/1.png" for kind in ("rgb", "ir") for p in "ab" for camera in ("hall", "door")]
    plant(tmp_path, *paths)
    records = FOLDERS.read(tmp_path, test_share=0.5)
    assert (records.camera == records.modality + 1).all()

    def by_place(records) -> bool:
        return records.camera.tolist() == [1 if "door" in path else 2 for path in records.path]

    assert by_place(FOLDERS.read(tmp_path, test_share=0.5, camera_pattern=r"^c(?P<camera>\w+)/"))
    lines = [f"{path.replace('/', chr(92))};{path.split('/')[2]}" for path in paths]
    (tmp_path / "cameras.csv").write_bytes("\r\n".join(["Path;Camera", *lines]).encode("utf-8-sig"))
    assert by_place(FOLDERS.read(tmp_path, test_share=0.5))


def test_searches_in_both_directions_and_as_one():
    """Every probe is ranked by a plain loop: it sees the other modality without its own person in its own camera."""
    rng = np.random.default_rng(0)
    images = [
        (f"{kind}/{person}/{n}.png", person, int(rng.integers(1, 4)), modality, "test")
        for modality, kind in ((RGB, "rgb"), (IR, "ir"))
        for person in range(1, 8)
        for n in range(rng.integers(1, 5))
    ]
    records = tabulate(images)
    features = rng.normal(size=(len(records), 4))
    scores = evaluate(features, records, FOLDERS.searches(records, "all_images", Path()))
    assert list(scores) == ["ir_to_rgb", "rgb_to_ir", "both"]
    hits = {RGB: [], IR: []}
    for probe in range(len(records)):
        seen = [
            g for g in range(len(records))
            if records.modality[g] != records.modality[probe]
            and (records.person_id[g], records.camera[g]) != (records.person_id[probe], records.camera[probe])
        ]  # fmt: skip
        seen.sort(key=lambda g: np.linalg.norm(features[g] - features[probe]))
        right = [records.person_id[g] == records.person_id[probe] for g in seen]
        if any(right):
            hits[int(records.modality[probe])].append(right[0])
    for name, expected in (("ir_to_rgb", hits[IR]), ("rgb_to_ir", hits[RGB]), ("both", hits[RGB] + hits[IR])):
        assert scores[name]["cmc"][0] == pytest.approx(np.mean(expected)), name
        assert scores[name]["counted_probes"] == len(expected)


def test_without_cameras_every_image_of_the_other_modality_is_seen(tree):
    records = FOLDERS.read(tree)
    test = records.select(FOLDERS.rows(records, "test"))
    for search in FOLDERS.searches(test, "all_images", Path()):
        probes, gallery = test.select(search.probes), test.select(search.galleries[0])
        same_modality = probes.modality[:, None] == gallery.modality
        np.testing.assert_array_equal(search.hidden(probes, gallery), same_modality)


@pytest.mark.parametrize("dataset", [dataset for dataset in DATASETS.values() if dataset is not FOLDERS])
def test_tables_call_it_by_its_folder_and_never_by_a_benchmark(dataset, tmp_path):
    assert FOLDERS.title_from(tmp_path / "Photos") == "Photos"
    for name in (dataset.title, dataset.name, dataset.name.upper()):
        assert FOLDERS.title_from(tmp_path / name) == f"{name} (own folders)"


def test_the_title_of_a_real_tree(tmp_path):
    for kind in ("rgb", "ir"):
        for person in "ab":
            write_image(tmp_path / "Photos" / kind / person / "1.png", 1)
    assert FOLDERS.title_of(tmp_path / "Photos", FOLDERS.read(tmp_path / "Photos")) == "Photos"


def test_people_of_one_kind_only_cannot_train(tmp_path, capsys):
    plant(tmp_path, "rgb/a/1.png", "ir/b/1.png")
    records = FOLDERS.read(tmp_path)
    assert "leaves nobody to train: it can only be scored." in capsys.readouterr().err
    with pytest.raises(UserError, match="has nobody to train, so it can only be scored; complete it"):
        FOLDERS.training_rows(records, "trainval")


def test_a_link_to_the_folder_that_it_lies_in_is_not_followed(tree):
    expected = FOLDERS.read(tree).path.tolist()
    (tree / "rgb/fay/all").symlink_to(tree / "rgb")
    assert FOLDERS.read(tree).path.tolist() == expected
    shutil.move(tree / "rgb/gus", tree / "elsewhere")
    (tree / "rgb/gus").symlink_to(tree / "elsewhere")  # other links are
    assert FOLDERS.read(tree).path.tolist() == expected
