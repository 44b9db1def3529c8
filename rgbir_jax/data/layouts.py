"""Reads a dataset's own tree into a table with one row an image; images stay closed."""

import itertools
import os
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Int32, Shaped

RGB, IR = 0, 1

_SYSU_MODALITY = {1: RGB, 2: RGB, 3: IR, 4: RGB, 5: RGB, 6: IR}  # by camera
_SYSU_SPLITS = ("train", "val", "test")

_MARKET_SPLITS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
_MARKET_NAME = re.compile(r"(?P<person_id>-1|\d{4})_c(?P<camera>\d)s\d_\d+_\d+\.jpg")
_MARKET_JUNK = -1


@dataclass(frozen=True, eq=False)
class Records:
    """A dataset's table, one row an image, sorted by path.

    Attributes:
        path: relative to the dataset's root, "/" between folders.
        person_id: the dataset's own number of the person; 0 for Market's distractors, who are nobody's match.
        camera: from 1.
        index: number of the image within its split, identity and camera, from 1, by file name.
        modality: 0 RGB, 1 IR.
        split: "train", "val" or "test" (SYSU-MM01); "train", "query" or "gallery" (Market-1501).
    """

    path: Shaped[np.ndarray, "images"]
    person_id: Int32[np.ndarray, "images"]
    camera: Int32[np.ndarray, "images"]
    index: Int32[np.ndarray, "images"]
    modality: Int32[np.ndarray, "images"]
    split: Shaped[np.ndarray, "images"]

    def __len__(self) -> int:
        return len(self.path)

    def select(self, rows: Int[np.ndarray, "chosen"] | Bool[np.ndarray, "images"]) -> "Records":
        """The table of some rows, given by number or by mask."""
        return Records(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def read_sysu_mm01(root: str | os.PathLike) -> Records:
    """The tree of SYSU-MM01: `cam1`..`cam6`/`0001`../`0001.jpg`.., identities by split in `exp/*_id.txt`.

    Identities that no split lists are left out, as in the dataset's own protocol.

    Raises:
        FileNotFoundError: for a missing folder or list, or an identity that is listed and has no image.
        ValueError: for a list that cannot be read, or an identity in two splits.
    """
    root = _existing(root)
    split_of = _sysu_splits(root)
    rows = []
    for camera, modality in _SYSU_MODALITY.items():
        folder = _folder(root, f"cam{camera}", "SYSU-MM01")
        for person in os.scandir(folder):
            person_id = int(person.name) if person.name.isdecimal() else None
            if person_id in split_of and person.is_dir():
                for name in _images(person.path):
                    path = f"{folder.name}/{person.name}/{name}"
                    rows.append((path, person_id, camera, modality, split_of[person_id]))
    for person_id in sorted(split_of.keys() - {row[1] for row in rows}):
        raise FileNotFoundError(
            f"{root}/exp/{split_of[person_id]}_id.txt lists identity {person_id}, but there is no "
            f"cam1..cam6/{person_id:04d}/*.jpg; complete the copy or take the identity off the list."
        )
    return _table(rows)


def read_market1501(root: str | os.PathLike) -> Records:
    """The tree of Market-1501: `bounding_box_train`, `query`, `bounding_box_test`; every image is RGB.

    A file's name gives its identity and camera (`0002_c1s1_000451_03.jpg`). Distractors (`0000`) stay in the
    gallery with person_id 0 and are nobody's match. Junk (`-1`) is left out: the dataset's protocol counts it
    neither as right nor as wrong.

    Raises:
        FileNotFoundError: for a missing or empty folder.
        ValueError: for a name that does not follow the pattern.
    """
    root = _existing(root)
    rows = []
    for folder_name, split in _MARKET_SPLITS.items():
        names = _images(_folder(root, folder_name, "Market-1501"))
        if not names:
            raise FileNotFoundError(f"{root}/{folder_name} has no *.jpg; complete the copy of Market-1501.")
        for name in names:
            match = _MARKET_NAME.fullmatch(name)
            if match is None:
                raise ValueError(
                    f"{root}/{folder_name}/{name} is not named as Market-1501 names its images "
                    f"(0002_c1s1_000451_03.jpg); rename it or take it out."
                )
            person_id = int(match["person_id"])
            if person_id != _MARKET_JUNK:
                rows.append((f"{folder_name}/{name}", person_id, int(match["camera"]), RGB, split))
    return _table(rows)


LAYOUTS: dict[str, Callable[[str | os.PathLike], Records]] = {
    "sysu_mm01": read_sysu_mm01,
    "market1501": read_market1501,
}


def _existing(root: str | os.PathLike) -> Path:
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"the dataset's folder {root} does not exist; set --config.data_dir to its place, "
            f"or draw a dataset: python -m rgbir_jax.data.synthetic --out {root}"
        )
    return root


def _folder(root: Path, name: str, dataset: str) -> Path:
    if not (root / name).is_dir():
        raise FileNotFoundError(f"{root} has no folder {name}; it is not a whole copy of {dataset}.")
    return root / name


def _images(folder: str | os.PathLike) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.endswith(".jpg"))


def _sysu_splits(root: Path) -> dict[int, str]:
    """The split of each listed identity."""
    split_of: dict[int, str] = {}
    for split in _SYSU_SPLITS:
        path = root / "exp" / f"{split}_id.txt"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; it lists SYSU-MM01's {split} identities, separated by commas.")
        entries = path.read_text().replace("\n", ",").split(",")
        for entry in filter(None, map(str.strip, entries)):
            if not entry.isdecimal():
                raise ValueError(f'{path} has "{entry}" where an identity\'s number should be; mend that line.')
            if split_of.setdefault(int(entry), split) != split:
                raise ValueError(
                    f"{path} lists identity {entry}, and so does {split_of[int(entry)]}_id.txt; "
                    f"take it off one of them."
                )
    if not split_of:
        raise ValueError(f"{root}/exp lists no identity; list those that train and test, separated by commas.")
    return split_of


def _table(rows: list[tuple[str, int, int, int, str]]) -> Records:
    """Sorts (path, person_id, camera, modality, split) by path and numbers the images."""
    path, person_id, camera, modality, split = zip(*sorted(rows), strict=True)
    number = defaultdict(lambda: itertools.count(1))
    index = [next(number[group]) for group in zip(split, person_id, camera, strict=True)]
    return Records(
        path=np.array(path),
        person_id=np.array(person_id, np.int32),
        camera=np.array(camera, np.int32),
        index=np.array(index, np.int32),
        modality=np.array(modality, np.int32),
        split=np.array(split),
    )
