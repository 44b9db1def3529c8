"""A dataset's table, and what the readers of all trees share."""

import itertools
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Int32, Shaped

from rgbir_jax.datasets.files import nested
from rgbir_jax.errors import UserError
from rgbir_jax.lookup import expanded

RGB, IR = 0, 1
MODALITIES = ("rgb", "ir")  # names by number
DRAWN = b"drawn by rgbir_jax.synthetic"  # in every drawn image file
TEST_SPLITS = ("test", "query", "gallery")


@dataclass(frozen=True, eq=False)
class Records:
    """A dataset's table: one row per image, sorted by path.

    Attributes:
        path: the file, relative to the dataset's folder, with "/" between folders.
        person_id: the dataset's own number of the person; 0 for Market's distractors, who match nobody.
        camera: the camera's number, from 1.
        index: the number of the image within its split, identity, camera and modality, from 1: that in its name
            (SYSU-MM01), otherwise its place by file name.
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


def tabulate(
    images: Iterable[tuple[str, int, int, int, str]], number_of: Callable[[str], int] | None = None
) -> Records:
    """Makes the table of images (path, person_id, camera, modality, split): sorts them and numbers them.

    Args:
        images: the images, in any order.
        number_of: (path) -> the image's number; None: numbers follow the order of the paths.

    Raises:
        UserError: for a path that is there twice, a number that is too large, or a person who trains and is tested.
    """
    path, person_id, camera, modality, split = zip(*sorted(images), strict=True)
    for one, other in itertools.pairwise(path):
        if one == other:
            raise UserError(f"{one} is listed twice; take one of its lines out.")
    _check_people(path, person_id, split)
    for name, values in (("person", person_id), ("camera", camera)):
        if too_large := [one for one, value in zip(path, values, strict=True) if value >= 2**31]:
            raise UserError(f"{too_large[0]} names a {name} by a number of more than 31 bits; give it a smaller one.")
    number = defaultdict(lambda: itertools.count(1))
    places = [next(number[group]) for group in zip(split, person_id, camera, modality, strict=True)]
    return Records(
        path=np.array(path),
        person_id=np.array(person_id, np.int32),
        camera=np.array(camera, np.int32),
        index=np.array(list(map(number_of, path)) if number_of else places, np.int32),
        modality=np.array(modality, np.int32),
        split=np.array(split),
    )


def _check_people(path: Iterable[str], person_id: Iterable[int], split: Iterable[str]) -> None:
    """Refuses a person who trains and is tested: scores would be too good."""
    first: dict[tuple[int, bool], str] = {}  # (person, whether the image is for tests) -> image
    for image, person, part in zip(path, person_id, split, strict=True):
        first.setdefault((person, part in TEST_SPLITS), image)
    for person, tests in first:
        if tests and (person, False) in first:
            raise UserError(
                f"identity {person} trains ({first[person, False]}) and is tested ({first[person, True]}), so scores "
                f"would be too good; take these images out of one of the two."
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
    root = expanded(root)
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
        refuse_nested(root, (name,))
        raise UserError(f"{root} has no folder {name}; it is not a whole copy of {title}.")
    return root / name


def refuse_nested(root: Path, names: Iterable[str]) -> None:
    """Names the folder in `root` that is the tree itself, if there is one.

    Args:
        root: the folder that lacks some of `names`.
        names: subfolders of the tree.

    Raises:
        UserError: if a folder in `root` has all of them.
    """
    if folder := nested(root, names):
        raise UserError(
            f"{root} is not the tree itself, but the folder {folder.name} in it is; "
            f"set --config.data_dir (eval.py: --data_dir) to {folder}."
        )


def has_only_tests(root: Path, trains: Iterable[str], tests: Iterable[str]) -> bool:
    """Says whether a tree lacks everybody who trains, which scoring does not need; a line on stderr says so, too.

    Args:
        root: the dataset's folder.
        trains: files or folders in it that have those who train.
        tests: those that have the test images; without one of them the tree is incomplete.
    """
    only_tests = not any((root / name).exists() for name in trains) and all((root / name).exists() for name in tests)
    if only_tests:
        print(f"{root} has nobody to train: it can only be scored.", file=sys.stderr)
    return only_tests


def is_drawn(image: Path) -> bool:
    """Says whether an image file shows a drawn person. The drawing program marks each file that it writes.

    Raises:
        UserError: if the file cannot be read.
    """
    try:
        return DRAWN in image.read_bytes()
    except OSError as error:
        raise UserError(f"{image} cannot be read ({error.strerror}); replace it with a whole copy.") from error
