"""An index agrees with a search in its folder, is appended to, and is never half-written."""

import dataclasses
import json
import os
import re
import shutil
import sys
import time

import numpy as np
import pytest

import rgbir_jax
from rgbir_jax.data import given_images
from rgbir_jax.errors import UserError
from rgbir_jax.inference import image_features
from rgbir_jax.search import store, updating
from rgbir_jax.search.index import open_index
from rgbir_jax.search.table import Table
from rgbir_jax.search.updating import update, with_faiss
from tests.own_people import NIGHT, OTHER_DAY, person, write_people


@pytest.fixture(scope="module")
def model():
    return rgbir_jax.load("drawn")


@pytest.fixture(scope="module")
def query(model):
    return model.features(np.stack([person(number, OTHER_DAY) for number in range(4)]), "rgb")


@pytest.fixture
def gallery(tmp_path):
    write_people(tmp_path / "people", range(6))
    return tmp_path / "people"


@pytest.fixture
def read(monkeypatch):
    """Returns the list of the names of images that are read."""
    names = []

    def decode(image, size, name):
        names.append(os.path.basename(name))
        return given_images_decode(image, size, name)

    given_images_decode = given_images.decode
    monkeypatch.setattr(given_images, "decode", decode)
    return names


def assert_same_lists(index, model, gallery, query):
    """Compares the index with the features of the folder as it is now."""
    expected = rgbir_jax.rank(query, model.features(gallery), top=4)
    found = index.search(query, top=4)
    np.testing.assert_array_equal(found.order, expected.order)
    np.testing.assert_allclose(found.distance, expected.distance, atol=1e-5)
    assert [[str(gallery / path) for path in paths] for paths in found.paths] == expected.paths


def test_only_what_is_new_or_changed_is_read(model, gallery, query, read):
    folder = gallery.parent / "index"
    done = update(folder, str(gallery), model)
    assert (done.new, done.changed, done.vanished, done.skipped) == (6, 0, [], [])
    assert read == [f"{number:02d}.png" for number in range(6)]
    assert_same_lists(done.index, model, gallery, query)

    write_people(gallery / "A", [7, 8], NIGHT)
    write_people(gallery, [3], OTHER_DAY)
    (gallery / "04.png").unlink()
    (gallery / "broken.png").write_bytes(b"no image")
    read.clear()
    done = update(folder, str(gallery), model)
    assert (done.new, done.changed, done.vanished) == (2, 1, ["04.png"])
    assert len(done.skipped) == 1
    assert sorted(read) == ["03.png", "07.png", "08.png", "broken.png"]
    assert done.index.table.paths == [*(f"{n:02d}.png" for n in (0, 1, 2, 3, 5)), "A/07.png", "A/08.png"]
    assert done.index.table.modality.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert_same_lists(open_index(folder), model, gallery, query)

    (gallery / "broken.png").unlink()
    read.clear()
    done = update(folder, str(gallery), model)
    assert (done.new, done.changed, done.vanished, done.skipped, read) == (0, 0, [], [], [])
    assert_same_lists(done.index, model, gallery, query)


def test_equal_images_keep_the_order_of_their_paths(model, gallery, monkeypatch):
    """The last bits of features and distances depend on the place in a batch; those of axes are exact."""
    axis = {}

    def along_axes(extract, images, *others):
        axes = [axis.setdefault(image.tobytes(), len(axis)) for image in images]
        return np.eye(of_any_number(extract, images, *others).shape[1], dtype=np.float32)[axes]

    of_any_number = image_features._of_any_number
    monkeypatch.setattr(image_features, "_of_any_number", along_axes)
    for name in ("z.png", "a.png"):
        shutil.copy(gallery / "02.png", gallery / name)
    done = update(gallery.parent / "index", str(gallery), model)
    features = model.features(gallery)
    query = features[[features.paths.index(str(gallery / "02.png"))]]
    assert done.index.search(query, top=5).paths == [["02.png", "a.png", "z.png", "00.png", "01.png"]]
    assert_same_lists(done.index, model, gallery, query)


def test_an_image_that_became_unreadable_is_taken_out(model, gallery):
    update(gallery.parent / "index", str(gallery), model)
    (gallery / "02.png").write_bytes(b"no image")
    done = update(gallery.parent / "index", str(gallery), model)
    assert (done.new, done.changed, done.vanished, len(done.skipped)) == (0, 0, [], 1)
    assert "02.png" not in done.index.table.paths


def test_it_belongs_to_one_run_and_one_gallery(model, gallery, query, tmp_path):
    folder = tmp_path / "index"
    index = update(folder, str(gallery), model).index
    assert (index.info.run, index.info.run_name, index.info.image_size) == (model.fingerprint, "drawn", [64, 32])
    other = dataclasses.replace(model, facts=dataclasses.replace(model.facts, image_size=[32, 16]))
    text = rf"index has features of the run drawn \({model.fingerprint}\), which cannot be compared with"
    with pytest.raises(UserError, match=text):
        update(folder, str(gallery), other)
    foreign = model.features(person(1), "rgb")
    foreign.run = other.fingerprint
    with pytest.raises(UserError, match=text):
        index.search(foreign)
    with pytest.raises(UserError, match=r"the query is \[1, 127\]; it must be finite, \[queries, 128\] for"):
        index.search(np.zeros((1, 127), np.float32))
    with pytest.raises(UserError, match="top is 0; it must be at least 1"):
        index.search(query, top=0)
    write_people(tmp_path / "others", [1])
    with pytest.raises(UserError, match=r"is the index of .*people; name a new folder for that of .*others"):
        update(folder, str(tmp_path / "others"), model)
    assert len(open_index(folder).table) == 6


def test_it_can_be_moved_with_its_gallery_or_without(model, gallery, query, tmp_path, read):
    update(tmp_path / "index", str(gallery), model)
    (tmp_path / "new").mkdir()
    for name in ("index", "people"):
        (tmp_path / name).rename(tmp_path / "new" / name)
    read.clear()
    index = open_index(tmp_path / "new/index")
    assert index.gallery.samefile(tmp_path / "new/people")
    (tmp_path / "new/people").rename(tmp_path / "moved")
    done = update(tmp_path / "new/index", str(tmp_path / "moved"), model)
    assert done.index.gallery.samefile(tmp_path / "moved")
    assert (done.new, read) == (0, [])


def test_a_folder_of_something_else_is_not_touched(model, gallery, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"mine is no index, and letter.txt is in it; name a new folder"):
        update(tmp_path / "mine", str(gallery), model)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_a_gallery_without_a_readable_image_makes_no_index(model, tmp_path):
    (tmp_path / "people").mkdir()
    with pytest.raises(UserError, match="has no images"):
        update(tmp_path / "index", str(tmp_path / "people"), model)
    (tmp_path / "people/a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"none of the 1 images can be read; the first: .*a.png cannot be decoded"):
        update(tmp_path / "index", str(tmp_path / "people"), model)
    assert not store.is_index(tmp_path / "index")


@pytest.mark.parametrize("file", ["vectors-2.npy", "table-2.npz", "index.json"])
def test_what_cannot_be_written_leaves_the_index_as_it_was(model, gallery, query, tmp_path, monkeypatch, file):
    folder = tmp_path / "index"
    before = update(folder, str(gallery), model).index.search(query)
    write_people(gallery, [8])
    whole_file = store.whole_file

    def full(path):
        if path.name == file:
            raise UserError(f"{path} cannot be written (No space left on device); make room on its disk.")
        return whole_file(path)

    with monkeypatch.context() as patch:
        patch.setattr(store, "whole_file", full)
        with pytest.raises(UserError, match="No space left"):
            update(folder, str(gallery), model)
    after = open_index(folder).search(query)
    np.testing.assert_array_equal(after.order, before.order)
    assert update(folder, str(gallery), model).new == 1
    assert len(list(folder.glob("table-*"))) == 1


def test_a_stopped_update_is_continued(model, gallery, query, tmp_path, monkeypatch, read):
    monkeypatch.setattr(image_features, "IN_MEMORY", 2)
    monkeypatch.setattr(updating, "SAVED_EVERY", 0.0)
    counted = given_images.decode

    def stopped(image, size, name):
        if name.endswith("03.png"):
            raise KeyboardInterrupt
        return counted(image, size, name)

    with monkeypatch.context() as patch:
        patch.setattr(given_images, "decode", stopped)
        with pytest.raises(KeyboardInterrupt):
            update(tmp_path / "index", str(gallery), model)
    assert open_index(tmp_path / "index").table.paths == ["00.png", "01.png"]
    read.clear()
    done = update(tmp_path / "index", str(gallery), model)
    assert read == ["02.png", "03.png", "04.png", "05.png"]
    assert done.new == 4
    assert_same_lists(done.index, model, gallery, query)


def test_two_programs_do_not_update_at_once(model, gallery, tmp_path):
    update(tmp_path / "index", str(gallery), model)
    with (
        updating.locked(tmp_path / "index", "updated", wait=False),
        pytest.raises(UserError, match=r"index is being updated by process .*; wait until it has finished"),
    ):
        update(tmp_path / "index", str(gallery), model)


@pytest.mark.parametrize("damage", ["cut", "noise", "gone"])
@pytest.mark.parametrize("file", ["vectors-1.npy", "table-1.npz", "index.json"])
def test_a_damaged_index_is_named(tmp_path, file, damage):
    folder = tmp_path / "index"
    random_index(folder, 10)
    path = folder / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
        if file == "index.json":
            assert not store.is_index(folder)
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"noise" * 100)
    with pytest.raises(UserError, match=r"index is no whole index \(.*\); delete it and make it once more"):
        open_index(folder)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    random_index(tmp_path / "index", 10)
    random_index(tmp_path / "larger", 20)
    random_index(tmp_path / "longer", 10, 8)
    for file, other, reason in (
        ("table-1.npz", "larger", "its table does not fit its vectors"),
        ("vectors-1.npy", "longer", "its vectors are of several kinds"),
    ):
        folder = shutil.copytree(tmp_path / "index", tmp_path / f"{other} index")
        name = "vectors-2.npy" if other == "longer" else file
        shutil.copy(tmp_path / other / file, folder / name)
        info = json.loads((folder / "index.json").read_text())
        info["vectors"] = sorted({"vectors-1.npy", name} - {"table-1.npz"})
        (folder / "index.json").write_text(json.dumps(info))
        with pytest.raises(UserError, match=rf"is no whole index \({reason}\)"):
            open_index(folder)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("vector", np.arange(10) + 0.5, None),
        ("size", np.zeros((10, 1), int), None),
        ("modality", np.full(10, 7, np.int8), "its table has other values"),
        ("paths", ["../secret.png", *"bcdefghij"], "../secret.png is not in its gallery"),
        ("paths", ["/etc/secret.png", *"bcdefghij"], "/etc/secret.png is not in its gallery"),
        ("paths", ["a/../../secret.png", *"bcdefghij"], "a/../../secret.png is not in its gallery"),
        ("paths", list("aacdefghij"), "its table has other values"),
    ],
)
def test_a_table_of_other_values_is_refused(tmp_path, column, value, reason):
    """No reason: the annotations, which only tests enforce, find it first."""
    index, _ = random_index(tmp_path / "index", 10)
    path = tmp_path / "index" / index.info.table
    content = np.frombuffer("\0".join(value).encode(), np.uint8) if column == "paths" else value
    np.savez(path, **{**np.load(path), column: content})
    with pytest.raises(UserError, match=rf"is no whole index \({re.escape(reason or '')}.*\)"):
        open_index(tmp_path / "index")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda vectors: vectors.ravel(), "its vectors are of several kinds"),
        (lambda vectors: vectors[..., None], "its vectors are of several kinds"),
        (lambda vectors: np.where(np.arange(16) < 9, vectors, np.float32("nan")), "have not the length 1"),
        (lambda vectors: np.where(np.arange(10)[:, None] == 3, 0 * vectors, vectors), "have not the length 1"),
        (lambda vectors: 2 * vectors, "have not the length 1"),
    ],
)
def test_vectors_of_other_values_are_refused(tmp_path, change, reason):
    index, vectors = random_index(tmp_path / "index", 10)
    np.save(tmp_path / "index" / index.info.vectors[0], change(vectors))
    with pytest.raises(UserError, match=rf"is no whole index \(.*{reason}\)"):
        open_index(tmp_path / "index").search(vectors[:1])


def test_an_index_that_is_updated_while_it_is_opened_is_opened_as_it_is_then(tmp_path, monkeypatch):
    index, vectors = random_index(tmp_path / "index", 10)
    read, calls = store.read_info, []

    def read_info(folder):
        info = read(folder)
        calls.append(info.written)
        if len(calls) == 1:
            store.write(folder, index.info, index.table, vectors)
        return info

    monkeypatch.setattr("rgbir_jax.search.index.read_info", read_info)
    assert len(open_index(tmp_path / "index").vectors) == 20
    assert calls == [1, 2, 2]


def test_an_index_of_another_version_is_refused(tmp_path):
    random_index(tmp_path / "index", 10)
    info = json.loads((tmp_path / "index/index.json").read_text())
    (tmp_path / "index/index.json").write_text(json.dumps(info | {"format": 2}))
    with pytest.raises(UserError, match="was made by another version of rgbir-index"):
        open_index(tmp_path / "index")


def test_vectors_of_images_that_are_gone_do_not_stay(model, tmp_path, query):
    gallery, folder = tmp_path / "people", tmp_path / "index"
    for number in range(5):
        shutil.rmtree(gallery, ignore_errors=True)
        write_people(gallery, [number, 8])
        index = update(folder, str(gallery), model).index
        assert len(index.vectors) <= 4
        assert_same_lists(index, model, gallery, query)


def test_a_table_keeps_any_file_name(tmp_path):
    names = sorted(["a b.png", "zwölf/3.png", os.fsdecode(b"\xff\n.png")])
    numbers = np.arange(3)
    with (tmp_path / "t.npz").open("wb") as file:
        Table(names, np.array([0, 1, 0], np.int8), numbers, numbers, numbers).write(file)
    table = Table.read(tmp_path / "t.npz")
    assert table.paths == names
    assert table.modality.tolist() == [0, 1, 0]


# ---------------------------------------------------------------- large galleries, of random vectors


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clusters(count, dim, seed=0):
    """Draws unit vectors around a tenth as many centres."""
    rng = np.random.default_rng(seed)
    return unit(
        rng.normal(size=(count // 10, dim))[np.arange(count) % (count // 10)] + 0.4 * rng.normal(size=(count, dim))
    )


def random_index(folder, count, dim=16, kind="exact", vectors=None):
    """Writes an index of random vectors. Returns (index, vectors)."""
    vectors = clusters(count, dim) if vectors is None else vectors
    folder.mkdir()
    numbers = np.arange(count)
    table = Table([f"{n:07d}.png" for n in range(count)], np.zeros(count, np.int8), numbers, numbers, numbers)
    store.write(folder, store.Info.new("12345678", "a run", [64, 32], "people", kind), table, vectors)
    return with_faiss(open_index(folder)), vectors


def added(index, vectors):
    """Adds images to an index of random vectors."""
    count, start = len(vectors), len(index.table)
    numbers = np.arange(start, start + count)
    table = Table([f"{n:07d}.png" for n in numbers], np.zeros(count, np.int8), numbers, numbers, numbers)
    store.write(index.folder, index.info, index.table.joined(table), vectors)
    return with_faiss(open_index(index.folder))


def test_an_exact_search_is_that_of_the_evaluation(tmp_path):
    vectors = clusters(20_000, 16)
    vectors[15_000:] = vectors[:5_000]  # equal distances
    index, _ = random_index(tmp_path / "index", 20_000, vectors=vectors)
    query = unit(vectors[::400] + 0.01 * clusters(50, 16, 1))
    for top in (1, 10, 300):
        found, expected = index.search(query, top), rgbir_jax.rank(query, vectors, top)
        np.testing.assert_array_equal(found.order, expected.order)
        np.testing.assert_allclose(found.distance, expected.distance)


@pytest.mark.parametrize("kind", ["ivfpq", "hnsw"])
def test_faiss_proposes_nearly_all_of_what_an_exact_search_finds(tmp_path, monkeypatch, kind, capfd):
    monkeypatch.setattr(updating, "COMPARED", 500)
    index, vectors = random_index(tmp_path / "index", 8_000, 16, kind)
    assert index.info.searched == kind
    assert index.info.faiss
    query = unit(vectors[:200] + 0.05 * clusters(200, 16, 1))
    found, expected = index.search(query, 10), rgbir_jax.rank(query, vectors, 10)
    recall = np.mean([len(np.intersect1d(*both)) for both in zip(found.order, expected.order, strict=True)]) / 10
    assert recall > 0.9
    same = found.order == expected.order
    np.testing.assert_allclose(found.distance[same], expected.distance[same])

    few = added(index, unit(vectors[:300] + 0.01 * clusters(300, 16, 2)))
    assert few.info.faiss == index.info.faiss  # these are compared one by one
    assert few.faiss.ntotal == 8_000
    order = few.search(query[:100], 2).order
    assert np.mean((order == np.arange(100)[:, None] + 8_000).any(axis=1)) > 0.9
    more = added(few, clusters(400, 16, 3))
    assert more.faiss.ntotal == 8_700
    assert more.info.trained_on == 8_000
    assert more.search(more.vectors[np.array([8_699])], 1).order.tolist() == [[8_699]]
    assert sorted(path.name for path in more.folder.glob("faiss-*")) == [more.info.faiss]
    exact = with_faiss(dataclasses.replace(more, info=dataclasses.replace(more.info, kind="exact")))
    assert (exact.info.searched, exact.info.faiss, exact.faiss) == ("exact", "", None)


def test_faiss_is_used_if_a_gallery_has_grown(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(updating, "COMPARED", 100)
    monkeypatch.setattr(updating, "EXACT_UP_TO", 1_500)
    index, _ = random_index(tmp_path / "index", 1_000, 8, "auto")
    assert index.info.searched == "exact"
    index = added(index, clusters(600, 8, 1))
    assert (index.info.searched, index.info.trained_on) == ("ivfpq", 1_600)
    index = added(index, clusters(6_000, 8, 2))
    assert index.info.trained_on == 7_600  # more than four times as many


def test_images_that_are_gone_are_not_found(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(updating, "COMPARED", 500)
    index, vectors = random_index(tmp_path / "index", 4_000, kind="hnsw")
    gone = np.arange(4_000) % 2 == 0
    store.write(index.folder, index.info, index.table.without(gone))
    index = open_index(index.folder)
    found = index.search(vectors[:100], 10)
    expected = rgbir_jax.rank(vectors[:100], vectors[~gone], 10)
    assert np.mean(found.order == expected.order) > 0.9
    assert all(int(path[:7]) % 2 for paths in found.paths for path in paths)


def test_without_faiss_its_installation_is_named(model, gallery, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(updating, "COMPARED", 5)
    text = r"FAISS, which is not installed: pip install 'rgbir-jax\[search\]'; or give rgbir-index --kind exact"
    index, vectors = random_index(tmp_path / "large", 1_000, kind="hnsw")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "faiss", None)
        with pytest.raises(UserError, match=text):
            update(tmp_path / "index", str(gallery), model, kind="ivfpq")
        assert not store.is_index(tmp_path / "index")
        with pytest.raises(UserError, match=text):
            open_index(index.folder).search(vectors[:1])
        assert len(update(tmp_path / "index", str(gallery), model).index.table) == 6


def test_a_search_among_100_000_images_takes_less_than_50_ms(tmp_path):
    vectors = clusters(100_000, 128)
    index, _ = random_index(tmp_path / "index", 100_000, vectors=vectors)
    index = open_index(index.folder).load()
    query, seconds = vectors[:20], []
    for vector in query:
        start = time.perf_counter()
        index.search(vector[None], 10)
        seconds.append(time.perf_counter() - start)
    assert np.median(seconds) < 0.05
