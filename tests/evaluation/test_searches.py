"""The searches that can be scored: the others are left out, and an unknown protocol is refused for every dataset."""

from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from rgbir_jax.datasets import DATASETS, MARKET1501, SYSU_MM01, find_dataset
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import IR, RGB, Records, tabulate
from rgbir_jax.datasets.search import Search
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.benchmark import Benchmark
from rgbir_jax.evaluation.evaluate import evaluate
from rgbir_jax.evaluation.searches import searches_of

NO_MATCH = "no probe has a match among the gallery images that it may see"


def sysu(*cameras: int) -> Records:
    """Returns the table of three people with two images in each camera."""
    return tabulate(
        (f"cam{camera}/{person:04d}/{number:04d}.jpg", person, camera, IR if camera in (3, 6) else RGB, "test")
        for camera in cameras
        for person in (1, 2, 3)
        for number in (1, 2)
    )


def nothing_hidden(probe, gallery):
    return np.zeros((len(probe.person_id), len(gallery.person_id)), bool)


def ir_to_rgb(records, protocol, root):
    """Looks for IR images among the RGB images, whatever the protocol."""
    probes, gallery = (np.flatnonzero(records.modality == modality) for modality in (IR, RGB))
    return [Search("ir_to_rgb", "IR to RGB", probes, (gallery,), nothing_hidden, "identity")]


SPLITS = {"train": ("train",), "trainval": ("train",), "val": (), "test": ("test",)}
MINE = Dataset("mine", "Mine", "A dataset of a user.", lambda root: sysu(1, 3), SPLITS, ("mine",), ir_to_rgb)


def test_all_searches_that_have_probes_and_gallery_remain(capsys):
    assert [s.name for s in searches_of(SYSU_MM01, sysu(1, 2, 3, 4, 5, 6), "agw", None)] == [
        "all_single",
        "all_multi",
        "indoor_single",
        "indoor_multi",
    ]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("cameras", "fault"),
    [((3, 4), "it has no gallery"), ((2, 3, 4), NO_MATCH)],  # camera 3 does not see camera 2
)
def test_a_search_that_cannot_be_scored_is_left_out(cameras, fault, capsys):
    records = sysu(*cameras)
    searches = searches_of(SYSU_MM01, records, "agw", None)
    assert [search.name for search in searches] == ["all_single", "all_multi"]
    assert capsys.readouterr().err.splitlines() == [
        f"indoor_single is left out: {fault}.",
        f"indoor_multi is left out: {fault}.",
    ]
    scores = evaluate(np.eye(4)[records.person_id], records, searches)
    assert scores["all_single"]["cmc"][0] == 1


@pytest.mark.parametrize(
    ("cameras", "fault"), [((3, 6), "it has no gallery"), ((1, 2), "it has no probe"), ((2, 3), NO_MATCH)]
)
def test_images_that_allow_no_search_are_refused(cameras, fault):
    with pytest.raises(UserError, match=rf"of SYSU-MM01 allow no search of the protocol agw \(.*all_single: {fault}"):
        searches_of(SYSU_MM01, sysu(*cameras), "agw", None)


def test_market_without_queries_is_refused():
    gallery = tabulate([("bounding_box_test/a.jpg", 1, 1, RGB, "gallery")])
    with pytest.raises(UserError, match="single_query_hits: it has no probe"):
        searches_of(MARKET1501, gallery, "single_query", None)


def test_a_match_is_found_behind_many_probes_without_one(capsys):
    images = [(f"ir/{i:04d}.jpg", 100 + i, 2, IR, "test") for i in range(500)]
    images += [("ir/last.jpg", 1, 2, IR, "test"), ("rgb/0.jpg", 1, 1, RGB, "test")]
    assert len(searches_of(MINE, tabulate(images), "mine", None)) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("dataset", [*DATASETS.values(), MINE])
def test_an_unknown_protocol_is_refused_before_the_dataset_is_asked(dataset):
    with pytest.raises(UserError, match=f'"other" is unknown; choose .*"{dataset.protocols[-1]}"'):
        searches_of(dataset, sysu(1, 3), "other", Path())


def test_a_file_that_the_protocol_needs_is_named_with_its_origin():
    for protocol in ("official", "paper"):
        message = (
            rf"{protocol} needs rand_perm_cam\.mat: it comes with the SYSU-MM01 release.* --rand_perm.*agw .*needs none"
        )
        with pytest.raises(UserError, match=message):
            searches_of(SYSU_MM01, sysu(1, 3), protocol, None)


def config(protocol: str) -> ConfigDict:
    return ConfigDict({"dataset": f"{__name__}:MINE", "data_dir": ".", "protocol": protocol, "rand_perm": ""})


def test_a_run_refuses_an_unknown_protocol():
    assert [search.name for search in Benchmark.of(config("mine"), sysu(1, 3)).searches] == ["ir_to_rgb"]
    with pytest.raises(UserError, match=r'--protocol.* "other" is unknown; choose "mine"'):
        Benchmark.of(config("other"), sysu(1, 3))


def test_a_run_leaves_out_what_cannot_be_scored(capsys):
    values = config("agw")
    values.dataset = "sysu_mm01"
    assert [search.name for search in Benchmark.of(values, sysu(3, 4)).searches] == ["all_single", "all_multi"]
    assert "indoor_single is left out" in capsys.readouterr().err


def test_a_name_of_something_else_is_no_dataset():
    with pytest.raises(UserError, match=r'config.dataset "pathlib:Path" is no Dataset of rgbir_jax'):
        find_dataset("pathlib:Path")
