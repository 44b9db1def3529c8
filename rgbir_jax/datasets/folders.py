"""One's own folders: `rgb/<person>/...` and `ir/<person>/...`, images of any format, persons named by anything.

Protocol `all_images`: every IR image is looked for among all RGB images, every RGB image among all IR images, and, as
one search, every image among all images of the other modality. A probe does not see its own person in its own camera.
Ranks count persons.
"""

import csv
import hashlib
import io
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import numpy as np
from jaxtyping import Bool

from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.duke import DUKE
from rgbir_jax.datasets.files import (
    check_usable,
    files_below,
    is_image,
    is_number,
    read_text,
    read_words,
    say_left_out,
    say_some,
    shortened,
)
from rgbir_jax.datasets.llcm import LLCM
from rgbir_jax.datasets.market1501 import MARKET1501
from rgbir_jax.datasets.msmt17 import MSMT17
from rgbir_jax.datasets.records import IR, MODALITIES, RGB, Records, existing, refuse_nested, tabulate
from rgbir_jax.datasets.regdb import REGDB
from rgbir_jax.datasets.search import CANNOT_BE_FOUND, Labelled, Search, same_person_and_camera
from rgbir_jax.datasets.sysu_mm01 import SYSU_MM01
from rgbir_jax.errors import UserError
from rgbir_jax.lookup import expanded

TITLE = "own folders"
PROTOCOLS = ("all_images",)
SPLITS = ("train", "val", "test")
OF_DRAWS = ("test_share", "val_share", "split_seed")  # options that have no effect if there are lists
CAMERAS = "cameras.csv"
BENCHMARKS = (SYSU_MM01, REGDB, LLCM, MARKET1501, MSMT17, DUKE)


class Photo(NamedTuple):
    """An image of the tree: its path, its person's name and its modality."""

    path: str
    person: str
    modality: int


def read(
    root: str | os.PathLike,
    camera_pattern: str = "",
    test_share: float = 0.25,
    val_share: float = 0.0,
    split_seed: int = 0,
) -> Records:
    """Reads the tree: `rgb/<person>/...` and `ir/<person>/...`, in which a person's images may be in subfolders.

    Persons whose names are all whole numbers from 1 keep them; otherwise they are numbered from 1 in sorted order. A
    path has the name. `train.txt`, `val.txt` and `test.txt` in the tree list persons, one per line; whom none lists
    trains if there is no train.txt, is tested if there is no test.txt, and is left out otherwise. Without lists, the
    seed draws those who are tested and validated on. Cameras are those of `cameras.csv` in the tree, with the columns
    path and camera, or of the pattern. Without both, camera 1 is all of `rgb` and camera 2 all of `ir`, so that nothing
    is hidden in a search.

    Nobody trains without images of both modalities. Without lists, persons of one modality are tested, where they are
    distractors. They are counted on stderr, as is what is left out.

    Args:
        root: the dataset's folder.
        camera_pattern: a regular expression with the group `camera`, searched for in an image's path below the person's
            folder; empty: none.
        test_share: the share of the persons of both modalities who are tested, between 0 and 1.
        val_share: the share of those who are validated on; 0: nobody.
        split_seed: which persons are drawn.

    Raises:
        UserError: for a missing folder, a tree without images, a list or a file of cameras that does not fit the tree,
            a pattern that does not fit an image, or shares that leave nobody to train or to test.
    """
    root = existing(root, "folders")
    photos = _photos(root)
    number = _person_numbers(root, {photo.person for photo in photos})
    both = {photo.person for photo in photos if photo.modality == RGB} & {
        photo.person for photo in photos if photo.modality == IR
    }
    split_of = _listed(root, number) or _drawn(number.keys(), both, test_share, val_share, split_seed)
    cameras = _cameras(root, photos, camera_pattern)
    in_one = number.keys() - both
    cannot_train = sorted(person for person in in_one if split_of.get(person) in ("train", "val"))
    say_left_out(root, cannot_train, "persons to train who have images of one modality only")
    tested = sorted(person for person in in_one if split_of.get(person) == "test")
    say_some(root, tested, "persons to test who have images of one modality only", CANNOT_BE_FOUND)
    unlisted = sorted(number.keys() - split_of.keys())
    say_left_out(root, unlisted, "persons whom neither train.txt nor test.txt lists")
    images = [
        (photo.path, number[photo.person], cameras[photo.path], photo.modality, split_of[photo.person])
        for photo in photos
        if photo.person in split_of and photo.person not in cannot_train
    ]
    splits = {split for *_, split in images}
    if "test" not in splits:
        raise UserError(f"{root} leaves nobody to test; add persons with images in rgb and ir, or change the lists.")
    if "train" not in splits:
        print(f"{root} leaves nobody to train: it can only be scored.", file=sys.stderr)
    return tabulate(images)


def person_numbers(records: Records) -> dict[str, int]:
    """Returns the number of each person by the name of the folders, in the order of the numbers."""
    numbers = {path.split("/")[1]: int(number) for path, number in zip(records.path, records.person_id, strict=True)}
    return dict(sorted(numbers.items(), key=lambda item: item[1]))


def searches(records: Records, protocol: str, galleries: Path) -> list[Search]:
    """Makes the searches in both directions, and both of them as one.

    Args:
        records: the test images.
        protocol: "all_images", the only one.
        galleries: unused: nothing is drawn.
    """
    del protocol, galleries
    rgb, ir = (np.flatnonzero(records.modality == modality) for modality in (RGB, IR))
    everything = np.arange(len(records))
    return [
        Search("ir_to_rgb", "IR to RGB", ir, (rgb,), hidden, "identity"),
        Search("rgb_to_ir", "RGB to IR", rgb, (ir,), hidden, "identity"),
        Search("both", "IR to RGB and RGB to IR", everything, (everything,), hidden, "identity"),
    ]


def hidden(probe: Labelled, gallery: Labelled) -> Bool[np.ndarray, "p g"]:
    """Hides the probe's own modality, and its own person in its own camera."""
    assert probe.modality is not None
    return (probe.modality[:, None] == gallery.modality) | same_person_and_camera(probe, gallery)


def title_from(root: Path) -> str:
    """Returns the folder's name; one that is also a benchmark's is marked, so that tables do not confuse them."""
    name = expanded(root).resolve().name
    known = {_letters(known) for dataset in BENCHMARKS for known in (dataset.name, dataset.title)}
    return f"{name} ({TITLE})" if _letters(name) in known or not name else name


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


def _photos(root: Path) -> list[Photo]:
    """Lists the images; all other files are counted on stderr."""
    photos, left_out = [], []
    for modality, name in enumerate(MODALITIES):
        if not (root / name).is_dir():
            refuse_nested(root, MODALITIES)
            raise UserError(f"{root} has no folder {name}; put rgb and ir there, and in each a folder per person.")
        for file in files_below(root / name):
            path = Path(file).relative_to(root).as_posix()
            person, _, rest = path.removeprefix(f"{name}/").partition("/")
            if rest and is_image(file):
                check_usable(file, os.path.isfile(file))
                photos.append(Photo(path, person, modality))
            else:
                left_out.append(file)
    say_left_out(root, left_out, "files that are no images or in no person's folder")
    if not photos:
        raise UserError(f"{root} has no image in rgb/<person> and ir/<person>; put one folder per person there.")
    return photos


def _person_numbers(root: Path, names: Iterable[str]) -> dict[str, int]:
    names = sorted(names)
    by_letters: dict[str, str] = {}
    for name in names:
        if (other := by_letters.setdefault(normalize("NFC", name), name)) != name:
            raise UserError(
                f"{root} has the persons {other!a} and {name!a}, which are the same letters in two codings; "
                f"give their folders one name."
            )
    number_of = _numbered(names)
    by_number: dict[int, str] = {}
    for name, number in number_of.items():
        if (other := by_number.setdefault(number, name)) != name:
            raise UserError(f"{root} has the persons {other} and {name}, which is the same number; rename one of them.")
    return number_of


def _numbered(names: Iterable[str]) -> dict[str, int]:
    """Numbers names: if all of them are whole numbers from 1, by themselves, otherwise from 1 in sorted order."""
    names = sorted(names)
    if all(is_number(name) and int(name) for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names, start=1)}


def unused_options(root: Path) -> tuple[str, ...]:
    """Returns the options that have no effect in a tree, because its lists decide who trains and who is tested."""
    return OF_DRAWS if _lists(root) else ()


def _lists(root: Path) -> dict[str, Path]:
    """Returns the lists of persons in a tree, by split."""
    paths = {split: root / f"{split}.txt" for split in SPLITS}
    return {split: path for split, path in paths.items() if _is_file(path)}


def _is_file(path: Path) -> bool:
    """Returns whether a list or table is in the tree. A folder with its name would not be read, without a word."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, and a file of this name would be read; rename it.")
    return path.is_file()


def _listed(root: Path, names: Iterable[str]) -> dict[str, str]:
    """Returns the split of each person by the lists in the tree; empty if there are none."""
    known = {normalize("NFC", name): name for name in names}
    lists = _lists(root)
    split_of: dict[str, str] = {}
    for split, path in lists.items():
        entries = read_words(path, ",;\t")
        if not entries:
            raise UserError(f"{path} names nobody; list persons there, one per line, or remove the file.")
        for entry in entries:
            if (person := known.get(normalize("NFC", entry))) is None:
                name = shortened(entry)
                raise UserError(f"{path} lists {name}, but there is no image in rgb/{name} or ir/{name}; correct it.")
            if split_of.setdefault(person, split) != split:
                raise UserError(f"{path} lists {entry}, and so does {split_of[person]}.txt; take it off one of them.")
    rest = next((split for split in ("train", "test") if split not in lists), None)
    if lists and rest:
        split_of |= dict.fromkeys(known.values() - split_of.keys(), rest)
    return split_of


def _drawn(names: Iterable[str], both: set[str], test_share: float, val_share: float, seed: int) -> dict[str, str]:
    """Draws who is tested and who is validated on. Another person in the tree changes as little as possible."""
    if not 0 < test_share < 1 or not 0 <= val_share < 1 - test_share:
        raise UserError(
            f"config.test_share {test_share} and config.val_share {val_share} are not shares of the persons that leave "
            f"some to train; 0.25 and 0 are usual."
        )
    order = sorted(both, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    tests = max(1, round(test_share * len(order)))
    validates = round(val_share * len(order))
    splits = ["test"] * tests + ["val"] * validates + ["train"] * len(order)
    return dict.fromkeys(names, "test") | dict(zip(order, splits, strict=False))


def _cameras(root: Path, photos: list[Photo], pattern: str) -> Mapping[str, int]:
    """Returns the camera's number of each path."""
    if _is_file(root / CAMERAS):
        if pattern:
            raise UserError(f'{root} has {CAMERAS}, and config.camera_pattern is "{pattern}"; use one of them.')
        names = _cameras_of_table(root, photos)
    elif pattern:
        names = _cameras_of_names(root, photos, pattern)
    else:
        return {photo.path: photo.modality + 1 for photo in photos}
    numbers = _numbered(set(names.values()))
    return {path: numbers[name] for path, name in names.items()}


def _cameras_of_names(root: Path, photos: list[Photo], pattern: str) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f'config.camera_pattern "{pattern}" is no regular expression: {error}; correct it.') from error
    if "camera" not in expression.groupindex:
        raise UserError(rf'config.camera_pattern "{pattern}" has no group camera; an example is "cam(?P<camera>\d+)".')
    names = {}
    for photo in photos:
        match = expression.search(photo.path.split("/", 2)[2])
        if not match or not match["camera"]:
            raise UserError(
                f'config.camera_pattern "{pattern}" finds no camera in {root}/{photo.path}; rename the image, correct '
                f"the pattern, or list the cameras in {CAMERAS}."
            )
        names[photo.path] = match["camera"]
    return names


def _cameras_of_table(root: Path, photos: list[Photo]) -> dict[str, str]:
    text = read_text(root / CAMERAS)
    try:
        rows = list(
            csv.reader(io.StringIO(text, newline=None), delimiter=";" if ";" in text.split("\n", 1)[0] else ",")
        )
    except csv.Error as error:
        raise UserError(
            f"{root}/{CAMERAS} is not a table of the columns path and camera: {error}; correct it."
        ) from error
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    if not {"path", "camera"} <= set(head):
        raise UserError(f"{root}/{CAMERAS} does not begin with the line path,camera; add it.")
    path, camera = head.index("path"), head.index("camera")
    names: dict[str, str] = {}
    for row in (row for row in rows[1:] if len(row) > max(path, camera)):
        image, name = row[path].strip().replace("\\", "/"), row[camera].strip()
        if names.setdefault(image, name) != name:
            raise UserError(
                f"{root}/{CAMERAS} has the cameras {shortened(names[image])} and {shortened(name)} for "
                f"{shortened(image)}; take one of the lines out."
            )
    for photo in photos:
        if not names.get(photo.path):
            raise UserError(f"{root}/{CAMERAS} has no camera for {photo.path}; add a line for it.")
    paths = {photo.path for photo in photos}
    say_left_out(root, sorted(names.keys() - paths), f"lines of {CAMERAS} whose images are not there")
    return {path: names[path] for path in paths}


FOLDERS = Dataset(
    name="folders",
    title=TITLE,
    description="One's own images: a folder per modality, and in it a folder per person.",
    read=read,
    splits={"train": ("train",), "trainval": ("train", "val"), "val": ("val",), "test": ("test",)},
    protocols=PROTOCOLS,
    searches=searches,
    instructions=(
        "manual_dir has the folders rgb and ir, and each of them a folder per person. "
        "To draw one: python -m rgbir_jax.synthetic --layout folders --out DIR"
    ),
    marks=MODALITIES,
    options=("camera_pattern", *OF_DRAWS),
    unused_options=unused_options,
    title_from=title_from,
    person_numbers=person_numbers,
)
