"""What readers say about broken trees. The table in docs/data.md is made of these messages.

python -m tests.datasets.test_broken_trees    # writes the table again
"""

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from ml_collections import ConfigDict

from rgbir_jax.datasets import DATASETS
from rgbir_jax.errors import UserError

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
BEGIN, END = "<!-- table of broken inputs: begin -->\n", "<!-- table of broken inputs: end -->\n"


def plant(root: Path, files: dict[str, str]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return root


SYSU = {
    f"cam{camera}/{person:04d}/{number:04d}.jpg": ""
    for camera in range(1, 7)
    for person in (1, 2, 3)
    for number in (1, 2)
}
SYSU |= {"exp/train_id.txt": "1", "exp/val_id.txt": "3", "exp/test_id.txt": "2"}
MARKET = {
    "bounding_box_train/0002_c1s1_000451_03.jpg": "",
    "query/0001_c1s1_001051_00.jpg": "",
    "bounding_box_test/0001_c2s1_000201_00.jpg": "",
}
REGDB_PATHS = {
    "visible": {person: f"Visible/{person}/v_1_{person}.bmp" for person in (1, 2)},
    "thermal": {person: f"Thermal/{person}/t_1_{person}.bmp" for person in (1, 2)},
}
REGDB = {path: "" for paths in REGDB_PATHS.values() for path in paths.values()}
REGDB |= {
    f"idx/{split}_{word}_1.txt": f"{paths[person]} 0\n"
    for word, paths in REGDB_PATHS.items()
    for split, person in (("train", 1), ("test", 2))
}
FOLDERS = {f"{kind}/{person}/cam1_1.png": "" for kind in ("rgb", "ir") for person in ("anna", "bert", "carla", "dora")}
RENAMED = {"anna": "1", "bert": "01", "carla": "3", "dora": "4"}
LLCM = {
    f"{word}/{person:04d}/{person:04d}_c0{camera}_s1_f1_{word}.jpg": ""
    for word in ("vis", "nir")
    for person in (1, 2)
    for camera in (1, 2)
}
LLCM |= {
    f"idx/{split}_{word}.txt": "".join(f"{path} 0\n" for path in LLCM if path.startswith(f"{word}/000{person}"))
    for word in ("vis", "nir")
    for split, person in (("train", 1), ("test", 2))
}
MSMT_PATHS = {
    f"{folder}/0000/0000_00{number}_0{camera}_0303morning_0015_0.jpg": f"list_{split}.txt"
    for folder, split, number, camera in (
        ("train", "train", 0, 1), ("train", "val", 1, 2), ("test", "query", 0, 1), ("test", "gallery", 1, 2)
    )
}  # fmt: skip
MSMT = dict.fromkeys(MSMT_PATHS, "") | {file: f"{path.partition('/')[2]} 0" for path, file in MSMT_PATHS.items()}
TREES = {"sysu_mm01": SYSU, "market1501": MARKET, "regdb": REGDB, "llcm": LLCM, "msmt17": MSMT, "folders": FOLDERS}


class Fault(NamedTuple):
    """A tree that is broken in one way, and the options with which it is read."""

    dataset: str
    what: str
    damage: Callable[[Path], object]
    options: dict = {}  # noqa: RUF012


def write(path: str, content: str | bytes) -> Callable[[Path], object]:
    """Returns the damage that a file does."""

    def damage(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def move(old: str, new: str) -> Callable[[Path], object]:
    def damage(root: Path) -> None:
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / old).rename(root / new)

    return damage


def remove(path: str) -> Callable[[Path], object]:
    return lambda root: shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()


def link(path: str) -> Callable[[Path], object]:
    return lambda root: (root / path).symlink_to("absent.jpg")


def pipe(path: str) -> Callable[[Path], object]:
    return lambda root: os.mkfifo(root / path)


def several(*damages: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda root: [damage(root) for damage in damages]


def whole(root: Path) -> None:
    """Damages nothing."""


def deeper(root: Path) -> None:
    """Moves the whole tree one folder deeper."""
    root.rename(root.with_name("inner"))
    root.mkdir()
    root.with_name("inner").rename(root / "inner")


FAULTS = [
    Fault("sysu_mm01", "the folder does not exist", shutil.rmtree),
    Fault("sysu_mm01", "the tree is one folder deeper", deeper),
    Fault("sysu_mm01", "a camera's folder is missing", remove("cam4")),
    Fault("sysu_mm01", "a list of identities is missing", remove("exp/val_id.txt")),
    Fault("sysu_mm01", "a list names nobody", write("exp/test_id.txt", "\n")),
    Fault("sysu_mm01", "a list has a word", write("exp/test_id.txt", "2,three")),
    Fault("sysu_mm01", "a list is no text", write("exp/test_id.txt", b"\xff2\xe9")),
    Fault("sysu_mm01", "somebody is in two lists", write("exp/test_id.txt", "1,2")),
    Fault("sysu_mm01", "a listed identity has no image", write("exp/test_id.txt", "2,9")),
    Fault("sysu_mm01", "an identity is in no list", write("cam1/0007/0001.jpg", "")),
    Fault("sysu_mm01", "an image is not named by its number", move("cam1/0001/0002.jpg", "cam1/0001/b.jpg")),
    Fault("sysu_mm01", "two images have one number", write("cam1/0001/1.png", "")),
    Fault("sysu_mm01", "files that are no images", write("cam1/0001/Thumbs.db", "")),
    Fault("sysu_mm01", "images in a subfolder", write("cam1/0001/more/0003.jpg", "")),
    Fault("sysu_mm01", "a link leads nowhere", several(remove("cam1/0001/0002.jpg"), link("cam1/0001/0002.jpg"))),
    Fault("sysu_mm01", "an image is a pipe", several(remove("cam1/0001/0002.jpg"), pipe("cam1/0001/0002.jpg"))),
    Fault("sysu_mm01", "nobody trains", several(remove("exp/train_id.txt"), remove("exp/val_id.txt"))),
    Fault("market1501", "the tree is one folder deeper", deeper),
    Fault("market1501", "an image with another name", write("query/holiday.jpg", "")),
    Fault("market1501", "a folder without images", remove("query/0001_c1s1_001051_00.jpg")),
    Fault("market1501", "images in a subfolder", write("query/more/0001_c3s1_001051_00.jpg", "")),
    Fault("market1501", "somebody trains and is tested", write("query/0002_c3s1_001051_00.jpg", "")),
    Fault("market1501", "nobody trains", remove("bounding_box_train")),
    Fault("regdb", "the tree is one folder deeper", deeper),
    Fault("regdb", "a list is missing", remove("idx/test_thermal_1.txt")),
    Fault("regdb", "a fold that does not exist", whole, {"fold": 11}),
    Fault("regdb", "a fold of another kind", whole, {"fold": 1.0}),
    Fault("regdb", "a list names no image", write("idx/test_thermal_1.txt", "\n")),
    Fault("regdb", "a listed image is missing", remove("Thermal/2/t_1_2.bmp")),
    Fault("regdb", "somebody is in two lists", write("idx/test_thermal_1.txt", "Thermal/1/t_1_1.bmp 0")),
    Fault("regdb", "an image is in no list", write("Visible/2/v_9_2.bmp", "")),
    Fault("llcm", "the tree is one folder deeper", deeper),
    Fault("llcm", "nobody trains", several(remove("idx/train_vis.txt"), remove("idx/train_nir.txt"))),
    Fault("msmt17", "the tree is one folder deeper", deeper),
    Fault("msmt17", "nobody trains", several(*map(remove, ("train", "list_train.txt", "list_val.txt")))),
    Fault("folders", "the tree is one folder deeper", deeper),
    Fault("folders", "a modality is missing", remove("ir")),
    Fault("folders", "no images", several(*map(remove, FOLDERS))),
    Fault("folders", "files that are no images", write("rgb/anna/notes.txt", "")),
    Fault("folders", "a name is not in UTF-8", write(os.fsdecode(b"rgb/anna/jos\xe9.png"), "")),
    Fault("folders", "a link leads nowhere", link("rgb/anna/2.png")),
    Fault("folders", "an image is a pipe", pipe("rgb/anna/2.png")),
    Fault("folders", "images in no person's folder", write("rgb/1.png", "")),
    Fault(
        "folders", "somebody to train is in one modality", several(write("train.txt", "anna,bert"), remove("ir/bert"))
    ),
    Fault("folders", "somebody to test is in one modality", several(write("test.txt", "anna,bert"), remove("ir/bert"))),
    Fault(
        "folders",
        "two persons with one number",
        several(*(move(f"{kind}/{old}", f"{kind}/{new}") for kind in ("rgb", "ir") for old, new in RENAMED.items())),
    ),
    Fault(
        "folders",
        "a name is coded in two ways",
        several(move("rgb/anna", "rgb/jos\u00e9"), move("ir/anna", "ir/jose\u0301")),
    ),
    Fault("folders", "a list names nobody", write("test.txt", "\n")),
    Fault("folders", "a list names a stranger", write("test.txt", "emil")),
    Fault("folders", "somebody is in two lists", several(write("train.txt", "bert"), write("test.txt", "bert"))),
    Fault("folders", "somebody is in no list", several(write("train.txt", "anna"), write("test.txt", "bert,carla"))),
    Fault("folders", "nobody is left to train", write("test.txt", "anna\nbert\ncarla\ndora")),
    Fault("folders", "shares that leave nobody to train", whole, {"test_share": 0.5, "val_share": 0.5}),
    Fault("folders", "a share that is no number", whole, {"test_share": "a quarter"}),
    Fault("folders", "a pattern that is none", whole, {"camera_pattern": "cam(?P<camera>"}),
    Fault("folders", "a pattern without the group", whole, {"camera_pattern": "cam([0-9])"}),
    Fault("folders", "a pattern that does not fit", whole, {"camera_pattern": "c(?P<camera>[0-9])"}),
    Fault(
        "folders",
        "a pattern and a table of cameras",
        write("cameras.csv", "path,camera"),
        {"camera_pattern": "cam(?P<camera>[0-9])"},
    ),
    Fault("folders", "a table of cameras without its first line", write("cameras.csv", "rgb/anna/cam1_1.png,1")),
    Fault(
        "folders",
        "an image with two cameras",
        write("cameras.csv", "path,camera\nrgb/anna/cam1_1.png,1\nrgb/anna/cam1_1.png,2"),
    ),
    Fault("folders", "a folder with the name of a table", write("cameras.csv/hall.csv", "path,camera")),
    Fault("folders", "a folder with the name of a list", write("train.txt/all.txt", "anna")),
    Fault("folders", "an image without a camera", write("cameras.csv", "path,camera\nrgb/anna/cam1_1.png,1")),
]


def message(fault: Fault, folder: Path) -> tuple[bool, str]:
    """Reads a broken tree. Returns whether it is refused, and what is printed; the tree is called DIR."""
    root = plant(folder / "DIR", TREES[fault.dataset])
    fault.damage(root)
    lines = io.StringIO()
    refused = ""
    with contextlib.redirect_stderr(lines):
        try:
            DATASETS[fault.dataset].read_with(root, ConfigDict(fault.options))
        except UserError as error:
            refused = str(error)
    text = refused or " ".join(lines.getvalue().splitlines())
    return bool(refused), text.replace(f"{folder}/", "")


def table() -> str:
    """Returns the table in Markdown."""
    rows = []
    for fault in FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            refused, text = message(fault, Path(folder))
        cells = (DATASETS[fault.dataset].title, fault.what, "refused" if refused else "read", text.replace("|", "\\|"))
        rows.append(f"| {' | '.join(cells)} |\n")
    return "".join(["| dataset | what is wrong | | message |\n", "|---|---|---|---|\n", *rows])


def written() -> Iterator[str]:
    """Yields the page's text before, in and after the table."""
    before, rest = PAGE.read_text().split(BEGIN)
    yield from (before, *rest.split(END))


@pytest.mark.parametrize("name", TREES)
def test_a_whole_tree_is_read_without_a_word(name, tmp_path):
    assert message(Fault(name, "", whole), tmp_path) == (False, "")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.dataset}: {fault.what}")
def test_a_broken_tree_is_named(fault, tmp_path):
    refused, text = message(fault, tmp_path)
    assert text.endswith(".")
    assert ("; " in text) == refused  # the way out


def test_the_page_has_these_messages():
    _, in_page, _ = written()
    assert in_page == table(), "docs/data.md is out of date; write it: python -m tests.datasets.test_broken_trees"


if __name__ == "__main__":
    before, _, after = written()
    PAGE.write_text(before + BEGIN + table() + END + after)
