"""The paper's tables: the paper's figures, and each run in the block and under the row that it belongs to."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import (
    llcm_image,
    quickstart,
    regdb_image,
    regdb_two_stream,
    sysu_agw,
    sysu_caj,
    sysu_cmgan,
    sysu_cmpig,
    sysu_deen,
    sysu_embedding,
    sysu_hicmd,
    sysu_image,
    sysu_rle,
    sysu_sdl,
    sysu_two_stream,
    sysu_zero_padding,
)
from configs.quickstart import comparators
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import tables

ROOT = Path(__file__).parents[2]
SETTINGS = ("all_single", "all_multi", "indoor_single", "indoor_multi")
ROWS_OF_TABLE_6 = [
    "L_simple + L_dis",
    "L_simple + L_dis + L_cross",
    "L_simple + L_dis + L_cross + L_triplet (random triplet)",
    "L_simple + L_dis + L_cross + L_triplet (hard triplet)",
]


def setting(rank1: float, trials: int = 10) -> dict:
    """Returns a setting of scores.json: rank k is rank1 + k - 1 thousandths, mAP half of rank1."""
    return {
        "cmc": [rank1 + place / 1000 for place in range(50)],
        "mAP": rank1 / 2,
        "mINP": 0.1,
        "std": {"rank1": 0.0123, "mAP": 0.0045},
        "trials": [{"rank1": rank1, "mAP": rank1 / 2}] * trials,
        "counted_probes": 7,
        "gallery_images": 301,
        "probe_images": 3803,
    }


def scores(rank1: float, dataset: str = "SYSU-MM01", settings: Sequence[str] = SETTINGS, trials: int = 10) -> dict:
    """Returns scores.json's content: setting i has a rank-1 of rank1 + i hundredths, the untrained network of 0."""
    trained = {name: setting(rank1 + i / 100, trials) for i, name in enumerate(settings)}
    untrained = {name: setting(0.0) for name in settings}
    head = {"protocol": "official", "dataset": dataset, "steps": 20_000, "controls": []}
    return head | {"untrained": untrained, "trained": trained}


def write_run(folder: Path, config: ConfigDict, scored: dict | None = None) -> Path:
    """Writes the two files of a scored run. Returns its folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    (folder / "scores.json").write_text(json.dumps(scores(0.3) if scored is None else scored))
    return folder


def image_config(preset: str = "paper", **changes) -> ConfigDict:
    """Returns the full-size image-space recipe with changed values of its last stage."""
    config = sysu_image.get_config(preset)
    config.image.update(changes)
    return config


def lines(block: tables.Block) -> list[tuple[str, str, str | None]]:
    """Returns (source, method, run) of each row."""
    return [(row.source, row.method, row.run) for row in block.rows]


def methods_of_runs(name: str, runs: Path) -> dict[str | None, str]:
    """Returns the method name that each run has in a table."""
    blocks = tables.compare(name, str(runs)).blocks
    return {row.run: row.method for block in blocks for row in block.rows if row.run is not None}


@pytest.mark.parametrize(
    ("number", "method", "single", "multi"),
    [
        ("6", ROWS_OF_TABLE_6[0], (1.33, 9.07), ()),
        ("6", ROWS_OF_TABLE_6[2], (14.25, 28.85), ()),
        ("6", ROWS_OF_TABLE_6[3], (18.20, 34.56), ()),
        ("7", "BDTR", (17.01, 55.43, 71.96, 19.66), ()),
        ("7", "SDL", (28.12, 70.23, 83.67, 29.01), ()),
        ("7", "cmPIG", (38.1, 80.7, 89.9, 36.9), (45.1, 85.7, 93.8, 29.5)),
        ("7", "Method1", (45.44, 88.85, 96.37, 46.84), (47.73, 90.30, 96.48, 40.12)),
        ("7", "Method2", (52.51, 92.01, 97.05, 49.51), (56.14, 93.56, 98.34, 43.81)),
        ("8", "SDL", (32.56, 80.45, 90.67, 39.56), ()),
        ("8", "Method1", (51.95, 95.24, 98.78, 63.11), (52.65, 94.10, 98.35, 51.22)),
        ("8", "Method2", (53.53, 93.25, 97.74, 63.12), (62.16, 95.61, 98.77, 55.46)),
    ],
)
def test_the_paper_s_figures(number, method, single, multi):
    table = tables.compare(number, None)
    (row,) = [row for row in table.blocks[0].rows if row.method == method]
    assert row.source == "the paper"
    for figures, expected in ((row.figures["single"], single), (row.figures["multi"], multi)):
        assert list(figures) == list(table.columns[: len(expected)])
        assert tuple(figure.mean for figure in figures.values()) == expected
        assert all(figure.std is None for figure in figures.values())


def test_rows_without_runs():
    assert [row.method for row in tables.compare("6", None).blocks[0].rows] == ROWS_OF_TABLE_6
    assert [row.method for row in tables.compare("8", None).blocks[0].rows] == [
        "SDL", "cmPIG", "Method1", "Method2", "One-stream", "Two-stream", "Zero-padding", "cmGAN", "AGW", "DDAG", "CAJ",
        "DEEN", "RLE",
    ]  # fmt: skip
    seventh = tables.compare("7", None)
    assert len(seventh.blocks) == 1
    assert not any("No run" in note for note in seventh.blocks[0].notes)
    by_source = {source: [row.method for row in seventh.blocks[0].rows if row.source == source] for source in
                 ("the paper", "published elsewhere")}  # fmt: skip
    assert by_source["the paper"] == ["BDTR", "SDL", "cmPIG", "Hi-CMD", "Method1", "Method2"]
    assert by_source["published elsewhere"] == [
        "released preset", "One-stream", "Two-stream", "Zero-padding", "cmGAN", "D2RL", "AGW", "DDAG",
        "Strong two-stream baseline", "CAJ", "CAJ+", "DEEN", "RLE", "MSCMNet",
    ]  # fmt: skip
    hi_cmd, released, agw = (seventh.blocks[0].rows[place] for place in (3, 6, 12))
    assert {name: figure.mean for name, figure in released.figures["single"].items()} == {"r1": 11.49, "mAP": 14.54}
    assert not released.figures["multi"]
    assert {name: figure.mean for name, figure in hi_cmd.figures["single"].items()} == {
        "r1": 34.94,
        "r10": 77.58,
        "mAP": 35.94,
    }
    assert {name: figure.mean for name, figure in agw.figures["single"].items()} == {
        "r1": 47.50,
        "r10": 84.39,
        "r20": 92.14,
        "mAP": 47.65,
        "mINP": 35.30,
    }
    assert agw.protocol == "agw"
    strong = next(row for row in seventh.blocks[0].rows if row.method == "Strong two-stream baseline")
    assert [figure.mean for figure in strong.figures["single"].values()] == [57.51, 90.05, 95.28, 54.60]
    assert strong.protocol == "official"
    assert any("Hi-CMD also print rank-20 88.38" in note for note in seventh.blocks[0].notes)


def test_a_run_is_under_the_paper_s_row(tmp_path):
    write_run(tmp_path / "one", image_config(), scores(0.4112))
    write_run(tmp_path / "deeper" / "two", quickstart.get_config("paper"), scores(0.2))
    write_run(tmp_path / "three", image_config(transfer_from="runs/market"))
    write_run(tmp_path / "four", sysu_two_stream.get_config("bdtr"))
    (block,) = tables.compare("7", str(tmp_path)).blocks
    paper, run = "the paper", "this code"
    assert lines(block)[:9] == [
        (paper, "BDTR", None), (run, "BDTR", "four"), (paper, "SDL", None), (paper, "cmPIG", None),
        (paper, "Hi-CMD", None), (paper, "Method1", None), (run, "Method1", "deeper/two"), (run, "Method1", "one"),
        (paper, "Method2", None),
    ]  # fmt: skip
    assert lines(block)[9] == (run, "Method2", "three")
    row = block.rows[7]
    assert (row.protocol, row.dataset, row.steps, row.seed) == ("official", "SYSU-MM01", 20_000, 0)
    # rank k of setting() is rank1 + (k - 1) / 1000, and all_multi is a hundredth above all_single.
    assert row.figures["single"] == {
        "r1": tables.Figure(41.12, 1.23),
        "r10": tables.Figure(42.02),
        "r20": tables.Figure(43.02),
        "mAP": tables.Figure(20.56, 0.45),
        "mINP": tables.Figure(10.0),
    }
    assert row.figures["multi"]["r1"] == tables.Figure(42.12, 1.23)
    indoor = [row for row in tables.compare("8", str(tmp_path)).blocks[0].rows if row.run == "one"]
    assert indoor[0].figures["single"]["r1"].mean == 43.12
    assert indoor[0].figures["multi"]["mAP"].mean == 22.06


def test_runs_that_belong_to_tables_7_and_8(tmp_path):
    without_teacher = image_config()
    without_teacher.image.weights.L_dis = 0.0
    teacher_only = sysu_image.get_config()
    teacher_only.recipe = ("teacher",)
    write_run(tmp_path / "a", image_config("dgnet"))
    write_run(tmp_path / "b", image_config("dgnet", transfer_from="runs/market"))
    write_run(tmp_path / "c", sysu_two_stream.get_config("baseline"))
    write_run(tmp_path / "without_L_dis", without_teacher)
    write_run(tmp_path / "lsgan", image_config(adversarial="lsgan"))
    write_run(tmp_path / "teacher", teacher_only)
    write_run(tmp_path / "embedding", sysu_embedding.get_config())
    for number in ("7", "8"):
        # The order: the two-stream baseline, the preset, its variant, then runs that are named by their folders.
        assert list(methods_of_runs(number, tmp_path).items()) == [
            ("c", "two-stream baseline"),
            ("a", "dgnet preset"),
            ("b", "dgnet preset; transferred"),
            ("lsgan", "lsgan"),
            ("teacher", "teacher"),
            ("without_L_dis", "without_L_dis"),
        ]


def test_runs_of_the_released_preset_are_under_the_published_row(tmp_path):
    """Runs that recognise people by the other code, or without the preset's other choices, are ablations."""
    appearance = image_config("released")
    appearance.image.networks.recognises = "appearance"
    before_the_choice = image_config()
    del before_the_choice.image.networks.recognises
    del before_the_choice.image.networks.E_s.sees
    del before_the_choice.image.swaps
    write_run(tmp_path / "a", image_config("released"))
    write_run(tmp_path / "b", image_config("released", transfer_from="runs/market"))
    write_run(tmp_path / "appearance", appearance)
    write_run(tmp_path / "detached", image_config("released", detach_appearance=True))
    write_run(tmp_path / "old", before_the_choice)
    write_run(tmp_path / "best", image_config("best"))
    write_run(tmp_path / "across", image_config("best", swaps="across"))
    expected = {"a": "released preset", "b": "released preset; transferred", "best": "best preset", "old": "Method1"}
    for number in ("7", "8"):
        names = methods_of_runs(number, tmp_path)
        assert names == expected | {name: name for name in ("across", "appearance", "detached")}
    rows = lines(tables.compare("7", str(tmp_path)).blocks[0])
    place = rows.index(("published elsewhere", "released preset", None))
    assert rows[place + 1 : place + 3] == [
        ("this code", "released preset", "a"), ("this code", "released preset; transferred", "b"),
    ]  # fmt: skip


@pytest.mark.parametrize("number", ["7", "8"])
def test_two_stem_runs_are_under_their_published_rows(tmp_path, number):
    recipes = {"agw": sysu_agw, "caj": sysu_caj, "rle": sysu_rle, "deen": sysu_deen}
    for system, recipe in recipes.items():
        scored = scores(0.3) | {"protocol": "agw"}
        if system == "rle":
            scored |= {"controls": ["neck"], "neck": scored["trained"]}
        write_run(tmp_path / system, recipe.get_config(), scored)
    write_run(tmp_path / "base", sysu_agw.get_config("base"))
    write_run(tmp_path / "weighted", sysu_caj.get_config("weighted"))
    write_run(tmp_path / "plain", sysu_deen.get_config("plain"))
    other = sysu_agw.get_config()
    other.agw.weights.L_tri = 1.0
    write_run(tmp_path / "other", other)
    (block,) = tables.compare(number, str(tmp_path)).blocks
    rows = [(row.method, row.run) for row in block.rows]
    for system, method in (("agw", "AGW"), ("caj", "CAJ"), ("rle", "RLE"), ("deen", "DEEN")):
        assert rows[rows.index((method, None)) + 1] == (method, system)
    assert rows[rows.index(("RLE", "rle")) + 1] == ("RLE; control: by neck", "rle")
    assert set(rows[-4:]) == {
        ("AGW's baseline", "base"),
        ("CAJ with AGW's loss", "weighted"),
        ("DEEN without its losses", "plain"),
        ("other", "other"),
    }
    assert all(row.protocol == "agw" for row in block.rows if row.method in ("AGW", "CAJ", "RLE"))


@pytest.mark.parametrize(
    ("number", "method", "single", "multi"),
    [
        ("7", "One-stream", (12.1, 49.7, 66.8, 13.7), (16.3, 58.2, 75.1, 8.59)),
        ("7", "Two-stream", (11.7, 48.0, 65.5, 12.9), (16.4, 58.4, 74.5, 8.03)),
        ("7", "Zero-padding", (14.8, 52.2, 71.4, 16.0), (19.2, 61.4, 78.5, 10.9)),
        ("7", "cmGAN", (27.0, 67.5, 80.6, 27.8), (31.5, 72.7, 85.0, 22.3)),
        ("7", "D2RL", (28.9, 70.6, 82.4, 29.2), ()),
        ("8", "One-stream", (17.0, 63.6, 82.1, 23.0), (22.7, 71.8, 87.9, 15.1)),
        ("8", "Two-stream", (15.6, 61.2, 81.1, 21.5), (22.5, 72.3, 88.7, 14.0)),
        ("8", "Zero-padding", (20.6, 68.4, 85.8, 27.0), (24.5, 75.9, 91.4, 18.7)),
        ("8", "cmGAN", (31.7, 77.2, 89.2, 42.2), (37.0, 80.9, 92.3, 32.8)),
    ],
)
def test_rows_quoted_from_the_table_of_cmpig(number, method, single, multi):
    (row,) = [row for row in tables.compare(number, None).blocks[0].rows if row.method == method]
    assert (row.source, row.protocol) == ("published elsewhere", "official")
    for figures, expected in ((row.figures["single"], single), (row.figures["multi"], multi)):
        assert tuple(figure.mean for figure in figures.values()) == expected


@pytest.mark.parametrize("number", ["7", "8"])
def test_runs_of_older_systems_are_under_their_published_rows(tmp_path, number):
    grey_teacher = sysu_image.get_config("teacher")
    grey_teacher.teacher.input = "grey"
    without_alignment = sysu_cmpig.get_config()
    without_alignment.cmpig.weights.L_align = 0.0
    without_cycle = sysu_hicmd.get_config()
    without_cycle.hicmd.weights.L_cycle = 0.0
    configs = {
        "Zero-padding": {"zero6": sysu_zero_padding.get_config("resnet6")},
        "Zero-padding; ResNet-50": {"zero50": sysu_zero_padding.get_config()},
        "Zero-padding; ResNet-14": {"narrow": comparators.get_config("zero_padding")},
        "One-stream; ResNet-50": {"one": sysu_zero_padding.get_config("one_stream")},
        "One-stream; grey; ResNet-50": {"one_grey": sysu_zero_padding.get_config("one_stream_grey")},
        "teacher; grey": {"teacher_grey": grey_teacher},
        "BDTR; batches of pairs": {"pairs": sysu_two_stream.get_config("batch32")},
        "SDL": {"sdl": sysu_sdl.get_config()},
        "SDL; released preset": {"sdl_released": sysu_sdl.get_config("released")},
        "cmPIG": {"cmpig": sysu_cmpig.get_config()},
        "cmPIG; released preset": {"cmpig_released": sysu_cmpig.get_config("released")},
        "cmGAN": {"cmgan": sysu_cmgan.get_config()},
        "Hi-CMD": {"hicmd": sysu_hicmd.get_config()},
        "Hi-CMD; released preset": {"hicmd_released": sysu_hicmd.get_config("released")},
        "without_cycle": {"without_cycle": without_cycle},
        "ablation": {"ablation": without_alignment},
    }
    for runs in configs.values():
        for name, config in runs.items():
            write_run(tmp_path / name, config)
    expected = {name: method for method, runs in configs.items() for name in runs}
    assert methods_of_runs(number, tmp_path) == expected
    rows = lines(tables.compare(number, str(tmp_path)).blocks[0])
    published_in_both = (("SDL", "sdl"), ("cmPIG", "cmpig"), ("Zero-padding", "zero6"), ("cmGAN", "cmgan"))
    for method, name in (*published_in_both, *([("Hi-CMD", "hicmd")] if number == "7" else [])):
        published = next(place for place, row in enumerate(rows) if row[1:] == (method, None))
        assert rows[published + 1] == ("this code", method, name)


def test_table_6_has_the_embedding_runs_and_the_two_streams(tmp_path):
    for i, row in enumerate(reversed(sysu_embedding.ROWS)):
        write_run(tmp_path / f"run{i}", sysu_embedding.get_config(row))
    control = scores(0.3)
    control |= {"m": control["untrained"], "controls": ["m"]}
    other = sysu_embedding.get_config()
    other.embedding.weights.L_cross = 0.0
    write_run(tmp_path / "with_control", sysu_embedding.get_config(), control)
    write_run(tmp_path / "no_cross", other)
    write_run(tmp_path / "baseline", sysu_two_stream.get_config("baseline"))
    write_run(tmp_path / "bdtr", sysu_two_stream.get_config("bdtr"))
    write_run(tmp_path / "image", image_config())
    (block,) = tables.compare("6", str(tmp_path)).blocks
    paper, run = "the paper", "this code"
    expected = []
    for i, name in enumerate(ROWS_OF_TABLE_6):
        expected += [(paper, name, None), (run, name, f"run{3 - i}")]
    expected += [
        (run, ROWS_OF_TABLE_6[3], "with_control"),
        (run, f"{ROWS_OF_TABLE_6[3]}; control: by m", "with_control"),
        (run, "two-stream baseline", "baseline"),
        (run, "BDTR", "bdtr"),
        (run, "L_simple + L_dis + L_triplet (hard triplet)", "no_cross"),
    ]
    assert lines(block) == expected
    assert block.rows[1].figures["single"] == {
        "r1": tables.Figure(32.0, 1.23),
        "mAP": tables.Figure(16.0, 0.45),
    }  # indoor_single
    assert block.rows[1].figures["multi"]["r1"].mean == 33.0
    assert block.rows[1].steps == 20_000


def test_drawn_people_are_never_among_the_paper_s_rows(tmp_path):
    write_run(tmp_path / "drawn", quickstart.get_config("paper"), scores(0.9, "SYSU-MM01 (drawn)"))
    write_run(tmp_path / "two", sysu_two_stream.get_config(), scores(0.8, "SYSU-MM01 (drawn)"))
    write_run(tmp_path / "A", image_config(adversarial="lsgan"), scores(0.7, "SYSU-MM01 (drawn)"))
    real, drawn = tables.compare("7", str(tmp_path)).blocks
    assert {row.source for row in real.rows} == {"the paper", "published elsewhere"}
    assert f"No run on the real dataset under {tmp_path} belongs here." in real.notes
    run = "this code"
    assert lines(drawn) == [(run, "BDTR", "two"), (run, "Method1", "drawn"), (run, "A", "A")]
    assert (real.comparable, drawn.comparable) == (True, False)

    write_run(tmp_path / "real", image_config())
    real, drawn = tables.compare("7", str(tmp_path)).blocks
    assert [row.run for row in real.rows if row.run] == ["real"]
    assert not any("No run" in note for note in real.notes)
    assert [row.run for row in drawn.rows] == ["two", "drawn", "A"]

    text = tables.table_with_runs("7", str(tmp_path))[0]
    above, below = text.split("## SYSU-MM01 (drawn)")
    assert "(drawn)" not in above
    assert below.strip().startswith("The people in this block are drawn by a program: its rows cannot be compared with")
    assert "45.44" in above
    assert "45.44" not in below


def test_other_images_than_the_published_ones_have_a_separate_block(tmp_path):
    """They are recognised by their numbers of images, whatever else the folder holds."""
    other = scores(0.9)
    other["trained"]["all_single"]["probe_images"] = 288
    write_run(tmp_path / "subset", image_config(), other)
    write_run(tmp_path / "market", image_config(), scores(0.9, "Market-1501"))
    write_run(tmp_path / "real", image_config())
    blocks = tables.compare("7", str(tmp_path)).blocks
    assert [(block.title, block.comparable) for block in blocks] == [
        ("SYSU-MM01", True),
        ("Market-1501", False),
        ("SYSU-MM01, 288 probes and 301 gallery images", False),
    ]
    assert [[row.run for row in block.rows if row.run] for block in blocks] == [["real"], ["market"], ["subset"]]
    for block in blocks[1:]:
        assert "cannot be compared" in block.notes[0]


REGDB_SEARCHES = ("visible_to_thermal", "thermal_to_visible")
LLCM_SEARCHES = ("visible_to_infrared", "infrared_to_visible")


def write_folds(root: Path, rank1: dict[int, float], config: ConfigDict, dataset: str = "RegDB") -> None:
    """Writes scored runs on folds of RegDB, by their rank-1; that of thermal to visible is a hundredth more."""
    for fold, value in rank1.items():
        config.fold = fold
        scored = scores(value, dataset, REGDB_SEARCHES, trials=1)
        for score in scored["trained"].values():
            score.update({"probe_images": 2060, "gallery_images": 2060})
        write_run(root / str(fold), config, scored)


def test_runs_on_the_folds_of_regdb_are_averaged(tmp_path):
    write_folds(tmp_path / "image", {1: 0.5, 2: 0.6, 10: 0.79}, regdb_image.get_config())
    (block,) = tables.compare("regdb", str(tmp_path)).blocks
    (row,) = [row for row in block.rows if row.run]
    assert (row.run, row.method, row.seed, row.steps) == ("image, folds 1, 2, 10", "Method1", 0, 20_000)
    forward, backward = row.figures["V→T"], row.figures["T→V"]
    # The deviations of 50, 60, 79 and of half of them; setting() has a mAP of half its rank-1 and a mINP of 10%.
    assert forward["r1"] == tables.Figure(63.0, 12.03)
    assert forward["mAP"] == tables.Figure(31.5, 6.01)
    assert forward["r10"] == tables.Figure(63.9)
    assert forward["mINP"] == tables.Figure(10.0)
    assert backward["r1"].mean == 64.0
    assert "± the standard deviation over the folds" in block.notes[0]


def test_only_runs_of_one_recipe_are_averaged(tmp_path, capsys):
    """A second run on a fold, another recipe, drawn people and a dataset without folds have rows of their own."""
    write_folds(tmp_path / "a", {1: 0.5, 2: 0.7}, regdb_image.get_config())
    write_folds(tmp_path / "b", {2: 0.1}, regdb_image.get_config())
    write_folds(tmp_path / "bdtr", {1: 0.3, 2: 0.4}, regdb_two_stream.get_config())
    write_folds(tmp_path / "drawn", {1: 0.9, 2: 0.8}, regdb_image.get_config(), "RegDB (drawn)")
    write_folds(tmp_path / "first", {1: 0.2, 2: 0.4}, regdb_image.get_config("teacher"))
    write_run(tmp_path / "damaged" / "3", regdb_image.get_config(), {"dataset": "RegDB"})
    write_run(tmp_path / "llcm", llcm_image.get_config(), scores(0.6, "LLCM", LLCM_SEARCHES))
    real, drawn = tables.compare("regdb", str(tmp_path)).blocks
    found = {row.run: (row.method, row.figures["V→T"]["r1"].mean) for row in real.rows if row.run}
    assert found == {
        "a, folds 1, 2": ("Method1", 60.0),
        "b/2": ("Method1", 10.0),
        "bdtr, folds 1, 2": ("BDTR", 35.0),
        "first, folds 1, 2": ("teacher", 30.0),
    }
    assert [(row.run, row.figures["V→T"]["r1"].mean) for row in drawn.rows] == [("drawn, folds 1, 2", 85.0)]
    messages = capsys.readouterr().err
    assert f"{tmp_path / 'damaged' / '3'} is left out" in messages
    assert f"{tmp_path / 'llcm'} is left out: it has no scores visible_to_thermal and" in messages


def test_the_test_set_of_llcm_is_known_by_its_probes(tmp_path):
    whole, part = (scores(0.4, "LLCM", LLCM_SEARCHES) for _ in range(2))
    whole["trained"]["infrared_to_visible"].update({"probe_images": 7166})
    write_run(tmp_path / "whole", llcm_image.get_config(), whole)
    write_run(tmp_path / "part", llcm_image.get_config(), part)
    blocks = tables.compare("llcm", str(tmp_path)).blocks
    assert [[row.run for row in block.rows if row.run] for block in blocks] == [["whole"], ["part"]]
    assert blocks[0].rows[-1].figures["I→V"]["r1"] == tables.Figure(41.0, 1.23)
    assert "These images are not LLCM's test set of 7,166 probes (infrared_to_visible)" in blocks[1].notes[0]


def test_published_rows_of_regdb():
    """Rank-1 and mAP in both directions."""
    (block,) = tables.compare("regdb", None).blocks

    def known(row, search):
        return tuple(figure.mean for name, figure in row.figures[search].items() if name in ("r1", "mAP"))

    assert {row.method: (known(row, "V→T"), known(row, "T→V")) for row in block.rows} == {
        "BDTR": ((33.6, 32.8), (32.9, 32.0)),
        "D2RL": ((43.4, 44.1), ()),
        "cmPIG": ((48.1, 48.9), (48.5, 49.3)),
        "Hi-CMD": ((70.93, 65.93), ()),
        "AGW": ((70.05, 66.37), ()),
        "DDAG": ((69.3, 63.5), (68.1, 61.8)),
        "CAJ": ((85.03, 79.14), (84.8, 77.8)),
        "DEEN": ((91.1, 85.1), (89.5, 83.4)),
    }
    figures = {row.method: row.figures["V→T"] for row in block.rows}
    assert [figure.mean for figure in figures["DEEN"].values()] == [91.1, 97.8, 98.9, 85.1]
    assert figures["CAJ"]["mINP"].mean == 65.33
    assert {row.source for row in block.rows} == {"published elsewhere"}
    assert "| published elsewhere | AGW " in tables.table_with_runs("regdb")[0]


def test_published_rows_of_llcm():
    """To look for visible images has a higher rank-1 and a lower mAP in every row of the source."""
    (block,) = tables.compare("llcm", None).blocks
    figures = {row.method: row.figures for row in block.rows}
    assert list(figures) == ["DDAG", "LbA", "AGW", "CAJ", "MMN", "MRCN", "DART", "DEEN"]
    assert [figure.mean for figure in figures["DEEN"]["I→V"].values()] == [55.52, 83.88, 89.98, 62.07]
    assert [figure.mean for figure in figures["DEEN"]["V→I"].values()] == [69.21, 90.95, 95.07, 55.52]
    for row in figures.values():
        assert row["V→I"]["r1"].mean > row["I→V"]["r1"].mean
        assert row["V→I"]["mAP"].mean < row["I→V"]["mAP"].mean
    assert tables.table_with_runs("llcm")[0].startswith("# LLCM (in %)")


def test_markdown_is_a_table(tmp_path):
    write_run(tmp_path / "run|1", image_config(), scores(0.4112))
    write_run(tmp_path / "single", image_config(), scores(0.05, trials=1))
    text = tables.table_with_runs("7", str(tmp_path))[0].splitlines()
    assert text[0] == "# Table 7: SYSU-MM01, all search (in %)"
    grid = [line for line in text if line.startswith("|")]
    assert len({len(line) for line in grid}) == 1
    head, rule, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in grid)
    assert head == [
        "source", "method", "run", "single r1", "single r10", "single r20", "single mAP", "single mINP",
        "multi r1", "multi r10", "multi r20", "multi mAP", "multi mINP", "protocol", "dataset", "steps", "seed",
    ]  # fmt: skip
    assert all(set(cell) == {"-"} for cell in rule)
    hi_cmd, _, run, one_trial = rows[3:7]
    assert hi_cmd == [
        "the paper",
        "Hi-CMD",
        "-",
        "34.94",
        "77.58",
        "-",
        "35.94",
        *"------",
        "official",
        "SYSU-MM01",
        "-",
        "-",
    ]
    assert run == [
        "this code", "Method1", "run\\|1", "41.12 ± 1.23", "42.02", "43.02", "20.56 ± 0.45", "10.00",
        "42.12 ± 1.23", "43.02", "44.02", "21.06 ± 0.45", "10.00", "official", "SYSU-MM01", "20,000", "0",
    ]  # fmt: skip
    assert one_trial[3:7] == ["5.00", "5.90", "6.90", "2.50"]


def test_trials_that_cannot_differ_have_no_deviation(tmp_path):
    same = scores(0.3)
    for setting_scores in same["trained"].values():
        setting_scores["different_galleries"] = 1
    write_run(tmp_path / "one", image_config(), same)
    (row,) = [row for row in tables.compare("7", str(tmp_path)).blocks[0].rows if row.run]
    assert row.figures["single"]["r1"] == tables.Figure(30.0, None)


@pytest.mark.parametrize("number", ["6", "7", "8"])
def test_json_has_the_same_content(tmp_path, number):
    write_run(tmp_path / "runs" / "real", sysu_two_stream.get_config())
    write_run(tmp_path / "runs" / "drawn", sysu_two_stream.get_config(), scores(0.9, "SYSU-MM01 (drawn)"))
    text, content = tables.table_with_runs(number, str(tmp_path / "runs"))
    content = json.loads(json.dumps(content))
    assert content["name"] == number
    assert [block["comparable"] for block in content["blocks"]] == [True, False]
    grids = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in grids]
    text_rows = [line for line in cells if line[0] in ("the paper", "published elsewhere", "this code")]
    rows = [row for block in content["blocks"] for row in block["rows"]]
    assert len(text_rows) == len(rows)
    for line, row in zip(text_rows, rows, strict=True):
        figures = [row["figures"][shot].get(column) for shot in ("single", "multi") for column in content["columns"]]
        texts = ["-" if f is None else f"{f['mean']:.2f}" + (f" ± {f['std']:.2f}" if f["std"] else "") for f in figures]
        assert line[:3] == [row["source"], row["method"], row["run"] or "-"]
        assert line[3:-4] == texts
        assert line[-3] == row["dataset"]
    assert all(note in text for block in content["blocks"] for note in block["notes"])


def test_runs_that_fit_no_table_are_named(tmp_path, capsys):
    write_run(tmp_path / "good", image_config())
    write_run(tmp_path / "cut", image_config())
    (tmp_path / "cut" / "scores.json").write_text('{"protocol": "offi')
    write_run(tmp_path / "old", image_config(), {"rank1": 0.3})
    write_run(
        tmp_path / "market", image_config(), scores(0.7, "market1501", ("single_query_trapezoid", "single_query_hits"))
    )
    write_run(tmp_path / "list", image_config(), {})
    (tmp_path / "list" / "config.json").write_text("[]")
    write_run(tmp_path / "deep" / "unscored", image_config())
    (tmp_path / "deep" / "unscored" / "scores.json").unlink()
    write_run(tmp_path / "no_config", image_config())
    (tmp_path / "no_config" / "config.json").unlink()
    write_run(tmp_path / "far" / "too" / "deep", image_config())
    assert methods_of_runs("7", tmp_path) == {"good": "Method1"}
    messages = {line.split(" is left out: ")[0]: line for line in capsys.readouterr().err.splitlines()}
    assert set(messages) == {
        str(tmp_path / name) for name in ("cut", "old", "market", "list", "deep/unscored", "no_config")
    }
    assert "all_single and all_multi, on market1501" in messages[str(tmp_path / "market")]
    for name in ("cut", "old"):
        assert messages[str(tmp_path / name)].endswith(f"eval.py --workdir {tmp_path / name} writes the scores again.")
    assert "train the run again" in messages[str(tmp_path / "list")]
    assert f"eval.py --workdir {tmp_path / 'deep' / 'unscored'}" in messages[str(tmp_path / "deep" / "unscored")]
    # A run of another table is not reported.
    assert methods_of_runs("6", tmp_path) == {}
    assert str(tmp_path / "market") not in capsys.readouterr().err


def test_no_runs_is_reported_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"absent is not a folder; --runs names"):
        tables.compare("7", str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="has no scored run, one or two folders deep"):
        tables.compare("7", str(tmp_path))


def eval_py(*flags: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "eval.py", *flags], capture_output=True, text=True, cwd=ROOT)


def test_the_command(tmp_path):
    process = eval_py("--table=8", f"--json={tmp_path / 'out.json'}")
    assert process.returncode == 0, process.stderr
    assert "| Method2      | -   | 53.53 " in process.stdout
    assert json.loads((tmp_path / "out.json").read_text())["name"] == "8"
    for flags in ((), ("--table=6", "--workdir=x"), ("--features=x.npz", "--workdir=x")):
        failure = eval_py(*flags)
        assert failure.returncode != 0
        assert failure.stderr.strip().splitlines() == [
            "eval.py: give exactly one of --workdir (a run to score), --features (a file to score), "
            "--table (6, 7, 8, regdb or llcm) and --compare (runs)."
        ]
    absent = eval_py("--table=6", f"--runs={tmp_path / 'absent'}")
    assert absent.returncode != 0
    assert len(absent.stderr.strip().splitlines()) == 1


def test_tables_need_neither_jax_nor_tensorflow():
    code = "import sys, eval, rgbir_jax.evaluation.tables; print({'jax', 'tensorflow'} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert process.stdout.strip() == "set()", process.stderr
