"""A dataset's table, and what the readers of all trees share."""

import itertools
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Int32, Shaped

from rgbir_jax.errors import UserError

RGB, IR = 0, 1
MODALITIES = ("rgb", "ir")  # names by number
DRAWN = b"drawn by rgbir_jax.synthetic"  # in every drawn image file


@dataclass(frozen=True, eq=False)
class Records:
    """A dataset's table: one row per image, sorted by path.

    Attributes:
        path: the file, relative to the dataset's folder, with "/" between folders.
        person_id: the dataset's own number of the person; 0 for Market's distractors, who match nobody.
        camera: the camera's number, from 1.
        index: the number of the image within its split, identity, camera and modality, from 1, by file name.
        modality: 0 RGB, 1 IR.
        split: "train", "val" or "test" (SYSU-MM01, RegDB, LLCM); "train", "val", "query" or "gallery" (Market-1501,
            MSMT17, DukeMTMC-reID).
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
        """Returns the table of some rows, given by number or by mask."""
        return Records(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def image(self, row: int | np.integer) -> str:
        """Returns the name of an image in messages."""
        return f"image {self.index[row]} of identity {self.person_id[row]} in camera {self.camera[row]}"


def tabulate(images: Iterable[tuple[str, int, int, int, str]]) -> Records:
    """Makes the table of images (path, person_id, camera, modality, split): sorts them and numbers them."""
    path, person_id, camera, modality, split = zip(*sorted(images), strict=True)
    number = defaultdict(lambda: itertools.count(1))
    index = [next(number[group]) for group in zip(split, person_id, camera, modality, strict=True)]
    return Records(
        path=np.array(path),
        person_id=np.array(person_id, np.int32),
        camera=np.array(camera, np.int32),
        index=np.array(index, np.int32),
        modality=np.array(modality, np.int32),
        split=np.array(split),
    )


def rows_by_person_and_camera(records: Records) -> dict[tuple[int, int], np.ndarray]:
    """Returns the rows of each person and camera, by image number; persons and cameras are in ascending order."""
    rows = np.lexsort((records.index, records.camera, records.person_id))
    person_id, camera = records.person_id[rows], records.camera[rows]
    groups = np.split(rows, np.flatnonzero(np.diff(person_id) | np.diff(camera)) + 1)
    return {(int(records.person_id[group[0]]), int(records.camera[group[0]])): group for group in groups if len(group)}


def existing(root: str | os.PathLike, layout: str = "") -> Path:
    """Returns the dataset's folder.

    Args:
        root: the folder.
        layout: the name under which the drawing program draws such a tree; empty if it cannot.

    Raises:
        UserError: if there is none.
    """
    root = Path(root)
    if not root.is_dir():
        draw = f", or draw a dataset: rgbir-draw --layout {layout} --out {root}" if layout else ""
        raise UserError(
            f"the dataset's folder {root} does not exist; "
            f"set --config.data_dir (eval.py: --data_dir) to its place{draw}."
        )
    return root


def subfolder(root: Path, name: str, title: str) -> Path:
    """Returns a folder that every copy of the dataset `title` has.

    Raises:
        UserError: if it is missing.
    """
    if not (root / name).is_dir():
        raise UserError(f"{root} has no folder {name}; it is not a whole copy of {title}.")
    return root / name


def is_drawn(image: Path) -> bool:
    """Says whether an image file shows a drawn person. The drawing program marks each file that it writes."""
    return DRAWN in image.read_bytes()


def jpegs(folder: str | os.PathLike) -> list[str]:
    """Returns the names of a folder's JPEG files, sorted."""
    return sorted(name for name in os.listdir(folder) if name.endswith(".jpg"))
