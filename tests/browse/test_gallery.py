"""Galleries: folders, indexes and dataset trees, with what their trees tell."""

import json
import re
import shutil

import numpy as np
import pytest

from rgbir_jax.browse.gallery import open_gallery
from rgbir_jax.browse.people import Label, labels
from rgbir_jax.browse.viewer import Viewer
from rgbir_jax.errors import UserError
from rgbir_jax.search.updating import update
from tests.own_people import DAY, NIGHT, write_people


def test_a_folder_of_anything(tmp_path, model):
    write_people(tmp_path / "people", range(3))
    write_people(tmp_path / "people/night", [5], NIGHT)
    gallery = open_gallery(str(tmp_path / "people"), model)
    assert list(gallery.paths) == ["00.png", "01.png", "02.png", "night/05.png"]
    assert gallery.modality.tolist() == [0, 0, 0, 1]
    assert (set(gallery.person), set(gallery.camera.tolist())) == ({""}, {0})
    assert Viewer(model, gallery).about()["cameras"] == []
    np.testing.assert_allclose(gallery.vectors, model.features(tmp_path / "people"), atol=1e-5)
    assert open_gallery(str(tmp_path / "people"), model, "rgb").modality.tolist() == [0, 0, 0, 0]


def test_folders_of_persons(tmp_path, model):
    for kind, camera in (("rgb", DAY), ("ir", NIGHT)):
        write_people(tmp_path / kind / "Ada", [1], camera)
        write_people(tmp_path / kind / "Bo", [2], camera)
    gallery = open_gallery(str(tmp_path), model)
    assert gallery.person == ["Ada", "Bo", "Ada", "Bo"]
    assert gallery.camera.tolist() == [2, 2, 1, 1]
    assert gallery.modality.tolist() == [1, 1, 0, 0]
    shutil.rmtree(tmp_path / "ir")
    gallery = open_gallery(str(tmp_path), model, "ir")  # no dataset any more
    assert gallery.person == ["Ada", "Bo"]
    assert gallery.camera.tolist() == [0, 0]
    assert gallery.modality.tolist() == [0, 0]


def test_a_dataset_tells_identity_camera_and_modality(tree):
    some = ["cam3/0001/0001.jpg", "cam1/0002/0002.jpg", "else.png"]
    known = labels(tree, some)
    assert known == [Label("1", 3, 1), Label("2", 1, 0), Label()]


def test_a_broken_tree_is_a_folder_of_images(tmp_path, capsys):
    for camera in range(1, 7):
        write_people(tmp_path / f"cam{camera}" / "0001", [1])
    assert labels(tmp_path, ["cam1/0001/01.png"]) == [Label()]
    assert "The folder looks like SYSU-MM01, but" in capsys.readouterr().err


def test_an_index_is_used_and_gives_the_same_lists(tree, tmp_path, model, viewer, capsys):
    shutil.copytree(tree, tmp_path / "people")
    update(tmp_path / "people.index", str(tmp_path / "people"), model, None, None)
    for place in ("people", "people.index"):
        gallery = open_gallery(str(tmp_path / place), model)
        assert gallery.folder.resolve() == (tmp_path / "people").resolve()
        assert list(gallery.paths) == list(viewer.gallery.paths)
        assert gallery.person == viewer.gallery.person
        assert gallery.camera.tolist() == viewer.gallery.camera.tolist()
        question = {"query": {"number": 5}, "cameras": [1, 2, 4]}
        assert Viewer(model, gallery).search(question) == viewer.search(question)
    assert "has other images" not in capsys.readouterr().err
    (tmp_path / "people/cam1/new.jpg").write_bytes(b"x")
    open_gallery(str(tmp_path / "people"), model)
    assert re.search(
        r"people has other images than .*people.index, which is searched \(1 new\)", capsys.readouterr().err
    )


def test_an_index_cannot_name_files_outside_its_gallery(tmp_path, model):
    from rgbir_jax.search import store
    from rgbir_jax.search.table import Table

    write_people(tmp_path, [1])
    for path in ("../01.png", str(tmp_path / "01.png"), "a/../../01.png"):
        zero = np.zeros(1, np.int64)
        table = Table([path], zero.astype(np.int8), zero, zero, zero)
        (tmp_path / "index").mkdir(exist_ok=True)
        info = store.Info.new(model.fingerprint, "drawn", [64, 32], "../people", "exact")
        store.write(tmp_path / "index", info, table, np.ones((1, 128), np.float32))
        with pytest.raises(UserError, match="is not in its gallery"):
            open_gallery(str(tmp_path / "index"), model)


def test_what_cannot_be_a_gallery_is_refused(tmp_path, model):
    with pytest.raises(UserError, match="is no folder; name a folder of images"):
        open_gallery(str(tmp_path / "absent"), model)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no images"):
        open_gallery(str(tmp_path / "empty"), model)
    write_people(tmp_path / "people", range(2))
    update(tmp_path / "people.index", str(tmp_path / "people"), model, None, None)
    info = json.loads((tmp_path / "people.index/index.json").read_text())
    (tmp_path / "people.index/index.json").write_text(json.dumps(info | {"run": "12345678"}))
    with pytest.raises(UserError, match="cannot be compared"):
        open_gallery(str(tmp_path / "people"), model)


def test_a_run_without_a_generator_says_why(viewer, monkeypatch):
    stage = type(viewer.run.stages[viewer.run.last])
    monkeypatch.setattr(stage, "renders", False)
    monkeypatch.setattr(stage, "has_feature_map", False)
    about = viewer.about()
    assert about["no_swap"].startswith("drawn generates no images")
    assert about["no_maps"].startswith("drawn has no activation maps")
    assert len(viewer.first_calls()) == 1
    assert viewer.search({"query": {"number": 0}})["total"] == len(viewer.gallery) - 1
    for question in (viewer.maps, viewer.swap):
        with pytest.raises(UserError, match="drawn"):
            question({"query": {"number": 0}, "match": 1})
