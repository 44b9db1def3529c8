"""rgbir-features, rgbir-index and rgbir-search: what they print and write, and their exit status."""

import dataclasses
import functools
import html
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import rgbir_jax
from rgbir_jax.commands import features, index, own_images, search
from rgbir_jax.origin import INCLUDED
from rgbir_jax.search import pictures, store, updating
from rgbir_jax.search.index import open_index
from rgbir_jax.visualize.overlay import overlay_of_any_size
from tests.own_people import NIGHT, OTHER_DAY, write_people


@pytest.fixture(scope="module")
def opened():
    """Opens each run once only."""
    return functools.cache(rgbir_jax.load)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Makes a folder with six people by day and queries of three; it is the current one."""
    monkeypatch.chdir(tmp_path)
    write_people(tmp_path / "people", range(6))
    write_people(tmp_path / "queries", range(2), OTHER_DAY)
    write_people(tmp_path / "queries", [4], NIGHT)
    return tmp_path


@pytest.fixture
def call(capsys, monkeypatch, opened):
    """Returns a function that runs a program: (status, standard output, standard error)."""
    monkeypatch.setattr(own_images, "load", opened)

    def run(program, *arguments):
        with pytest.raises(SystemExit) as end:
            program.main([str(argument) for argument in arguments])
        return end.value.code, *capsys.readouterr()

    return run


def test_features_are_written(folder, call, opened):
    status, out, err = call(features, "people", "queries/*.png", "-o", "f.npz")
    assert status == 0
    model = opened("drawn")
    assert out == f"f.npz: 9 features of 128 numbers, of the run {model.fingerprint}.\n"
    assert "Without --run, drawn computes the features; it knows drawn people only." in err
    with np.load("f.npz") as kept:
        assert kept["path"][[0, 8]].tolist() == ["people/00.png", "queries/04.png"]
        assert kept["modality"].tolist() == [0] * 8 + [1]
        np.testing.assert_allclose(kept["feature"], model.features(["people", "queries"]), atol=1e-5)
    status, _, err = call(features, "people", "-o", "f.npz", "--run", "drawn", "--modality", "ir")
    assert (status, "Without --run" in err) == (0, False)
    with np.load("f.npz") as kept:
        assert kept["modality"].tolist() == [1] * 6


def test_files_of_features_are_searched(folder, call, opened):
    call(features, "people", "-o", "people.npz", "--run", "drawn")
    call(features, "queries", "-o", "queries.npz", "--run", "drawn")
    expected = call(search, "queries", "--gallery", "people", "--top", 4)[1]
    call(index, "people")
    for gallery in ("people.npz", "people.index"):
        for queries in (["queries.npz"], ["queries"], ["queries/00.png", "queries/01.png", "queries/04.png"]):
            assert call(search, *queries, "--gallery", gallery, "--top", 4)[:2] == (0, expected)
    _, out, _ = call(search, "queries/04.png", "queries.npz", "queries/00.png", "--gallery=people.npz", "--top=1")
    listed = [line.split()[0] for line in out.splitlines()[::2]]
    assert listed == [f"queries/0{number}.png" for number in (4, 0, 1, 4, 0)]
    for arguments in (("queries.npz", "--gallery=people"), ("queries", "--gallery=people.npz")):
        status, _, err = call(search, *arguments, "--out=queries/00.png")
        assert (status, "--out queries/00.png is one of the images to search with" in err) == (2, True)
    other = rgbir_jax.Features.load("queries.npz")
    other.run = "12345678"
    other.save("other.npz")
    for arguments in (("other.npz", "--gallery=people.npz"), ("queries", "--gallery=other.npz")):
        status, out, err = call(search, *arguments)
        assert (status, out) == (2, "")
        assert "other.npz has features of the run 12345678, which cannot be compared with those of drawn" in err
    (folder / "broken.npz").write_bytes(b"no array")
    for arguments in (("broken.npz", "--gallery=people"), ("queries", "--gallery=broken.npz")):
        status, _, err = call(search, *arguments)
        assert status == 2
        assert "rgbir-search: broken.npz is not an .npz file of plain numbers; write it again with" in err


def test_the_modality_of_a_gallery_can_be_declared(folder, call, opened):
    """Of a camera that saves a tint, no image has equal channels."""
    (folder / "tinted").mkdir()
    for path in write_people(folder / "night", range(3), NIGHT):
        tinted = np.asarray(Image.open(path)) * np.array([0.9, 1, 0.9])
        Image.fromarray(tinted.astype(np.uint8)).save(folder / "tinted" / path.name)
    model = opened("drawn")
    expected = rgbir_jax.rank(model.features("queries", "rgb"), model.features("tinted", "ir"))
    arguments = ("queries", "--gallery=tinted", "--modality=rgb")
    status, out, err = call(search, *arguments, "--gallery-modality=ir")
    assert (status, out) == (0, f"{expected}\n")
    assert "guessed" not in err
    assert call(search, *arguments)[1] != out
    model.features("tinted", "ir").save("tinted.npz")
    call(index, "tinted", "--modality=ir")
    for gallery, kept, program in (("tinted.npz", "tinted.npz", "features"), ("tinted", "tinted.index", "index")):
        status, out, err = call(search, "queries", f"--gallery={gallery}", "--gallery-modality=ir")
        assert (status, out) == (2, "")
        assert "--gallery-modality is of images that are read now, and " in err
        assert re.search(rf"{kept} has .*features; make it once more with rgbir-{program} --modality\.", err)


def test_a_gallery_without_images_is_one_sentence_before_images_are_read(folder, call, opened):
    opened("drawn").features([]).save("none.npz")
    (folder / "gone").mkdir()
    shutil.copy("people/00.png", "gone")
    call(index, "gone")
    (folder / "gone/00.png").unlink()
    opened_index = open_index(folder / "gone.index")
    nothing = opened_index.table.rows(np.zeros(0, int))
    empty = "gone.index has no images any more; add some with rgbir-index."
    for kept in (opened_index.info.vectors, []):
        store.write(folder / "gone.index", dataclasses.replace(opened_index.info, vectors=kept), nothing)
        for gallery in ("gone", "gone.index"):
            status, out, err = call(search, "queries", "--gallery", gallery)
            assert (status, out, err.splitlines()[-1].endswith(empty)) == (2, "", True)
            assert "guessed" not in err
        assert "gone has no images, and its subfolders have none" in call(index, "gone")[2]
    for arguments in (("queries", "--gallery=none.npz"), ("none.npz", "--gallery=people")):
        status, out, err = call(search, *arguments)
        assert (status, out) == (2, "")
        assert "none.npz has features of no image; name another file." in err
        assert "guessed" not in err


def test_a_search_in_a_folder_and_in_its_index_gives_the_same_lists(folder, call, opened):
    model = opened("drawn")
    expected = rgbir_jax.rank(model.features("queries"), model.features("people"), 4)
    status, out, err = call(search, "queries", "--gallery", "people", "--top", 4)
    assert status == 0
    assert out == f"{expected}\n"
    assert "Without --run" in err
    assert call(index, "people")[0] == 0
    for gallery in ("people", "people.index"):
        status, out, err = call(
            search, "queries/00.png", "queries/*1.png", "queries/04.png", "--gallery", gallery, "--top=4"
        )
        assert status == 0
        assert out == f"{expected}\n"
        assert re.search(r"people.index: 6 images\.$", err, re.MULTILINE)


def test_an_index_is_appended_to(folder, call):
    _, out, _ = call(index, "people", "-o", "here")
    assert out == "here: 6 images, 6 of them new and 0 changed; searched by exact.\n"
    write_people(folder / "people", [7])
    for number in range(4):
        (folder / f"people/0{number}.png").unlink()
    status, out, _ = call(index, "people/", "-o", "here")
    assert status == 0
    assert out.splitlines() == [
        "Taken out, because their files are gone: 4 images (00.png, 01.png, 02.png, ...).",
        "here: 3 images, 1 of them new and 0 changed; searched by exact.",
    ]


def test_a_search_says_how_the_gallery_differs_from_its_index(folder, call):
    call(index, "people")
    write_people(folder / "people", [7, 8])
    write_people(folder / "people", [1], OTHER_DAY)
    (folder / "people/00.png").rename(folder / "people/renamed.png")
    for gallery, difference in (
        ("people", "3 new, 1 changed, 1 gone"),
        ("people.index", "1 changed, 1 gone"),  # of an index that is named, only the images in the lists are compared
    ):
        status, _, err = call(search, "queries", "--gallery", gallery)
        assert status == 0
        assert "people.index: 6 images. people has other images than" in err
        assert f"people.index, which is searched ({difference}); rgbir-index updates it." in err
    call(index, "people")
    assert "other images" not in call(search, "queries", "--gallery=people")[2]
    shutil.rmtree(folder / "people")
    status, out, err = call(search, "queries", "--gallery=people.index")
    assert (status, "people/07.png" in out) == (0, True)
    assert "people is not there: the images of people.index can be found, and cannot be shown." in err


def test_an_index_says_which_images_keep_their_modality(folder, call):
    assert "stay in the other modality" not in call(index, "people", "--modality=rgb")[2]
    write_people(folder / "people", [8], NIGHT)
    status, _, err = call(index, "people", "--modality=ir")
    assert status == 0
    assert "6 images that were read before stay in the other modality; to read them again with --modality ir" in err
    assert open_index(folder / "people.index").table.modality.tolist() == [0] * 6 + [1]


def test_images_are_not_written_over(folder, call):
    contents = {path: path.read_bytes() for path in folder.rglob("*.png")}
    (folder / "link").symlink_to("queries")
    for gallery, outs, message in (
        ("people", "queries/00.png", "--out queries/00.png is one of the images to search with"),
        ("people", "link/00.png", "--out link/00.png is one of the images to search with"),
        ("people/*.png", "people/01.png", "--out people/01.png is one of the images to search with"),
        ("people", "people/01.png", "--out people/01.png is in the gallery"),
        ("people", "people/new.PNG", "--out people/new.PNG is in the gallery and would be taken for one of its images"),
    ):
        status, out, err = call(search, "queries", "--gallery", gallery, "--out", outs)
        assert (status, out) == (2, "")
        assert message in err
    call(index, "people")
    assert call(search, "queries", "--gallery=people.index", "--out=people/new.png")[0] == 2
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == contents
    assert call(search, "queries", "--gallery=people", "--out=people/lists.json")[0] == 0


def test_every_image_has_one_line_whatever_its_name(folder, call):
    names = ("a\nb.png", "\x1b[2J.png", "\u202egnp.exe.png")
    for name in names:
        shutil.copy("people/01.png", f"people/{name}")
    (folder / "people/c\nd.txt").touch()
    status, out, err = call(search, "queries/01.png", "--gallery=people", "--out=f.json")
    assert status == 0
    assert len(out.splitlines()) == 1 + 9
    for escaped in (r"a\nb.png", r"\x1b[2J.png", r"\u202egnp.exe.png"):
        assert f"people/{escaped}\n" in out
    assert r"left out: 1 (c\nd.txt)" in err
    listed = [match["path"] for match in json.loads((folder / "f.json").read_text())["queries"][0]["matches"]]
    assert {f"people/{name}" for name in names} < {*listed}
    call(index, "people")
    for name in names:
        (folder / "people" / name).unlink()
    assert r"3 images (\x1b[2J.png, a\nb.png, \u202egnp.exe.png)" in call(index, "people")[1]


def test_a_picture_that_is_too_large_is_refused_after_the_lists(folder, call, monkeypatch):
    monkeypatch.setattr(pictures, "LARGEST", 1_000)
    status, out, err = call(search, "queries", "--gallery=people", "--out=f.png")
    assert (status, bool(out)) == (2, True)
    assert "f.png would have 512 x 542 pixels; list fewer images, or write a page (.html)." in err
    assert not (folder / "f.png").exists()


def test_a_page_of_too_many_images_is_refused_after_the_lists(folder, call, monkeypatch):
    monkeypatch.setattr(pictures, "MOST", 20)
    status, out, err = call(search, "queries", "--gallery=people", "--top=6", "--out=f.html")
    assert (status, bool(out)) == (2, True)
    assert "f.html would have 21 images, and a page has at most 20; list fewer, or write values (.json)." in err
    assert not (folder / "f.html").exists()
    assert call(search, "queries", "--gallery=people", "--top=5", "--out=f.html")[0] == 0
    assert call(search, "queries", "--gallery=people", "--top=5", "--explain", "--out=f.html")[0] == 2


def test_the_lists_are_written_as_a_page_a_picture_and_values(folder, call):
    Image.open("people/00.png").save("people/<b>&.png")
    call(index, "people")
    call(search, "queries", "--gallery=people", "--top=3", "--out=f.html", "--out=f.PNG", "--out=f.json")
    content = json.loads((folder / "f.json").read_text())
    assert [query["path"] for query in content["queries"]] == [f"queries/0{number}.png" for number in (0, 1, 4)]
    assert [query["modality"] for query in content["queries"]] == ["RGB", "RGB", "IR"]
    for query in content["queries"]:
        assert [match["rank"] for match in query["matches"]] == [1, 2, 3]
        assert sorted(match["distance"] for match in query["matches"]) == [
            match["distance"] for match in query["matches"]
        ]
    page = (folder / "f.html").read_text()
    for query in content["queries"]:
        for match in query["matches"]:
            assert html.escape(match["path"]) in page
    assert "<b>" not in page
    sources = re.findall(r'(?:src|href)="([^"]{20})', page)
    assert len(sources) == 3 * 4
    assert all(source.startswith("data:image/jpeg;") for source in sources)
    picture = np.asarray(Image.open("f.PNG"))
    assert picture.shape[0] > 3 * 128
    query = np.asarray(Image.open("queries/00.png").resize((64, 128), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(picture[8:136, 8:72], query)


def test_lists_are_explained_below_the_images(folder, call, opened):
    """A page and a picture have each image and, below it, the image with its map."""
    call(index, "people")
    (folder / "people/03.png").unlink()
    status, _, _ = call(search, "queries", "--gallery=people", "--top=6", "--explain", "--out=f.html", "--out=f.png")
    assert status == 0
    page = (folder / "f.html").read_text()
    assert "Grad-CAM" in page
    assert page.count("<img ") == 2 * 3 * 7
    picture = np.asarray(Image.open("f.png"))
    ranking = rgbir_jax.rank(opened("drawn").features("queries"), opened("drawn").features("people"), 1)
    first = ranking.paths[0][0]
    maps = opened("drawn").explain("queries/00.png", first, "rgb", "rgb")
    expected = overlay_of_any_size(np.asarray(Image.open("queries/00.png").resize((64, 128))), maps.query[0])
    explained = picture[136:264, 8:72]
    assert np.abs(explained.astype(int) - expected).mean() < 1
    assert np.abs(explained.astype(int) - picture[8:136, 8:72]).mean() > 10


def test_what_cannot_be_explained_is_refused_first(folder, call, opened, monkeypatch):
    for outs in ((), ("--out=f.json",)):
        status, out, err = call(search, "queries", "--gallery=people", "--explain", *outs)
        assert (status, out) == (2, "")
        assert "add --out FILE.html or FILE.png." in err
    monkeypatch.setattr(type(next(iter(opened("drawn").stages.values()))), "has_feature_map", False)
    status, out, err = call(search, "queries", "--gallery=people", "--explain", "--out=f.png")
    assert (status, out) == (2, "")
    assert "drawn has no activation maps" in err


def test_a_vanished_image_is_grey_in_a_page(folder, call):
    call(index, "people")
    (folder / "people/00.png").unlink()
    assert call(search, "queries/00.png", "--gallery=people", "--out=f.html", "--out=f.png")[0] == 0


def test_broken_images_are_named_and_the_status_says_so(folder, call):
    (folder / "people/broken.png").write_bytes(b"no image")
    for program, arguments in (
        (features, ("people", "-o", "f.npz")),
        (search, ("queries", "--gallery=people")),
        (index, ("people",)),
    ):
        status, out, err = call(program, *arguments)
        assert status == 1
        assert out
        assert "people/broken.png cannot be decoded" in err
        assert "1 of 7 images cannot be read and were left out." in err
    (folder / "queries/broken.png").write_bytes(b"no image")
    assert call(search, "queries", "--gallery=people")[0] == 1
    assert call(search, "queries/00.png", "--gallery=people")[0] == 0


def test_what_is_wrong_is_one_sentence_and_status_2(folder, call, monkeypatch):
    call(index, "people")
    (folder / "empty").mkdir()
    for program, arguments, message in (
        (features, ("absent", "-o", "f.npz"), "rgbir-features: there is no file or folder absent; correct the path."),
        (
            features,
            ("people", "-o", "no/f.npz"),
            "--out no/f.npz cannot be written: there is no folder no",
        ),
        (features, ("people", "-o", "people/00.png"), "--out people/00.png has not the ending .npz; add it."),
        (features, ("people", "-o", "f.npz", "--run=empty"), "rgbir-features: empty/config.json is missing"),
        (index, ("empty",), "rgbir-index: empty has no images"),
        (
            index,
            ("people", "-o", "queries/00.png"),
            "rgbir-index: queries/00.png is a file; name a folder for the index",
        ),
        (index, ("people/*.png",), "rgbir-index: there is no folder people/*.png; an index is made of a gallery's"),
        (index, ("queries", "-o", "people.index"), "is the index of"),
        (index, ("queries", "-o", "people"), "rgbir-index: people is no index, and"),
        (search, ("absent.png", "--gallery=people"), "rgbir-search: there is no file or folder absent.png"),
        (search, ("queries", "--gallery=absent"), "rgbir-search: there is no file or folder absent"),
        (search, ("queries", "--gallery=empty"), "rgbir-search: empty has no images"),
        (search, ("queries", "--gallery=people", "--out=f.gif"), "f.gif has none of the endings .html, .png, .json"),
        (search, ("queries", "--gallery=people", "--out=no/f.png"), "there is no folder no; make it first"),
        (search, ("queries", "--gallery=people", "--top=0"), "--top must be at least 1."),
    ):
        status, out, err = call(program, *arguments)
        assert (status, out) == (2, "")
        assert message in err
        assert "Traceback" not in err
        assert "guessed" not in err  # no image was read first
    assert not (folder / "f.npz").exists()
    monkeypatch.setattr(updating, "COMPARED", 3)
    monkeypatch.setitem(sys.modules, "faiss", None)
    status, _, err = call(index, "people", "--kind=hnsw")
    assert status == 2
    assert "pip install 'rgbir-jax[search]'" in err


def with_threshold(folder, distance) -> dict:
    """Makes a copy of the model `drawn` that has a threshold for FPR 0.01, and none for less."""
    shutil.copytree(INCLUDED / "drawn", folder, ignore=shutil.ignore_patterns("thresholds.json"))
    content = {
        "stage": "image",
        "steps": 1,
        "dataset": "D",
        "search": "one search",
        "probe": ["ir"],
        "gallery": ["rgb"],
    }
    content |= {"people": 9, "same_pairs": 90, "different_pairs": 5000}
    content["rates"] = {"0.01": {"tpr": 0.5, "threshold": distance, "false_matches": 50}}
    (folder / "thresholds.json").write_text(json.dumps(content))
    return content


def test_a_threshold_says_who_is_the_same_person(folder, call):
    lists = rgbir_jax.rank(*map(rgbir_jax.load("drawn").features, ("queries", "people")))
    distance = np.sort(lists.distance[2])[[1, 2]].mean()  # between the second and the third of the infrared query
    with_threshold(folder / "run", float(distance))
    arguments = ("queries", "--gallery=people", "--run=run", "--same-at-fpr=0.01", "--out=f.json", "--out=f.html")
    status, out, err = call(search, *arguments)
    assert status == 0
    assert f"same: closer than {distance:.3f}, found on 9 people of D (one search)" in err
    assert "not known: the threshold was found on pairs of IR with RGB images and applies to no others." in err
    by_day, _, by_night = [block for block in json.loads((folder / "f.json").read_text())["queries"]]
    assert {match["same"] for match in by_day["matches"]} == {None}
    assert [match["same"] for match in by_night["matches"]] == [True] * 2 + [False] * 4
    listed = [re.search("not known|same|other", line)[0] for line in out.splitlines() if re.match(" +[0-9]", line)]
    assert listed == ["not known"] * 12 + ["same"] * 2 + ["other"] * 4
    assert re.findall("<b>(.*?)</b>", (folder / "f.html").read_text()) == listed


def test_a_threshold_that_is_not_there_is_refused_before_images_are_read(folder, call):
    with_threshold(folder / "run", 0.5)
    for rate, message in (("0.001", "0.001 cannot be found from 5,000 pairs"), ("2", "2 is none")):
        status, out, err = call(search, "queries", "--gallery=people", "--run=run", f"--same-at-fpr={rate}")
        assert (status, out) == (2, "")
        assert message in err
    (folder / "run/thresholds.json").unlink()
    status, _, err = call(search, "queries", "--gallery=people", "--run=run", "--same-at-fpr=0.01")
    assert status == 2
    assert "run has no thresholds: eval.py --workdir" in err


def test_the_run_of_an_index_is_opened_by_its_name(folder, call):
    call(index, "people")
    path = folder / "people.index/index.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | {"run": "12345678"}))
    status, _, err = call(search, "queries", "--gallery=people")
    assert status == 2
    assert "people.index has features of the run drawn (12345678), which cannot be compared with" in err
    path.write_text(json.dumps(info | {"run_name": str(folder / "moved")}))
    status, _, err = call(search, "queries", "--gallery=people")
    assert status == 2
    assert "if it was moved, --run names its new place." in err
    assert call(search, "queries", "--gallery=people", "--run=drawn")[0] == 0


def test_an_index_that_cannot_be_written_is_named_before_images_are_read(folder, call, monkeypatch):
    call(index, "people")
    write_people(folder / "people", [8])
    monkeypatch.setattr(updating.os, "access", lambda path, mode: not str(path).endswith("people.index"))
    status, out, err = call(index, "people")
    assert (status, out) == (2, "")
    assert "people.index cannot be written: permission denied" in err
    assert "guessed" not in err


def test_nothing_is_printed_if_nobody_reads_on():
    """`| head` closes its end of the pipe when it has enough."""
    reading, writing = os.pipe()
    os.close(reading)
    for printed in (10, 10**6):  # less and more than Python's buffer
        code = f"from rgbir_jax.commands.own_images import ends; ends('rgbir-x', lambda: not print('x' * {printed}))"
        process = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False)
        assert (process.returncode, process.stderr) == (141, b"")
    os.close(writing)


def test_full_memory_is_one_sentence(capsys):
    def fail():
        raise MemoryError("Unable to allocate 9 GiB")

    with pytest.raises(SystemExit) as end:
        own_images.ends("rgbir-x", fail)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(
        "rgbir-x: the memory of this machine is full (Unable to allocate 9 GiB); "
    )


def test_ctrl_c_ends_it(folder, call, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(index, "update", stop)
    status, _, err = call(index, "people")
    assert (status, err.splitlines()[-1]) == (130, "rgbir-index: stopped.")
