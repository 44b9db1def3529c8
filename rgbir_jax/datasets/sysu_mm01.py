"""SYSU-MM01: 491 people seen by four RGB and two infrared cameras.

Every protocol looks for IR probes of cameras 3 and 6 among RGB images of cameras 1, 2, 4 and 5 (indoors 1 and 2), in
ten trials. A probe of camera 3 does not see camera 2, which stands in the same place. Ranks count persons.

- `official`: the permutations that come with the dataset draw the galleries: the first one (single-shot) or ten
  (multi-shot) images of each person in each camera.
- `agw`: Python's `random` draws them, seeded with the trial's number from 0, person by person and camera by camera:
  `choice` among the sorted files, as most PyTorch code does. That code does not settle multi-shot; here it is a
  `sample` of ten.
- `paper`: as `official`, but indoor probes are those of camera 3 only, and a multi-shot gallery has ten images per
  person over all cameras: one from each camera in turn, in the order of the same permutations. The indoor gallery is
  cameras 1 and 2, of which a probe of camera 3 does not see camera 2. So an indoor probe sees only half of the drawn
  gallery, the images of camera 1. It is not counted if its person has none there.
"""

import os
import random
import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.files import files_below, images_in, is_number, read_words, say_left_out, shortened
from rgbir_jax.datasets.records import (
    IR,
    MODALITIES,
    RGB,
    Records,
    existing,
    has_only_tests,
    rows_by_person_and_camera,
    subfolder,
    tabulate,
)
from rgbir_jax.datasets.search import Labelled, Search
from rgbir_jax.datasets.sysu_lists import PERMUTATIONS_FROM, SEPARATORS, TRIALS, Permutations, read_permutations
from rgbir_jax.errors import UserError

TITLE = "SYSU-MM01"
PROTOCOLS = ("official", "agw", "paper")
MODALITY = {1: RGB, 2: RGB, 3: IR, 4: RGB, 5: RGB, 6: IR}  # by camera
SPLITS = ("train", "val", "test")


class Setting(NamedTuple):
    """A search in the paper's terms.

    Attributes:
        title: the search in words.
        gallery_cameras: the RGB cameras whose images may be drawn.
        shots: images of each person, in each camera or (protocol `paper`) in all of them.
    """

    title: str
    gallery_cameras: tuple[int, ...]
    shots: int

    def probe_cameras(self, protocol: str) -> tuple[int, ...]:
        """Returns the IR cameras whose images are probes."""
        indoor = self.gallery_cameras == (1, 2)
        return (3,) if protocol == "paper" and indoor else (3, 6)


SETTINGS = {
    "all_single": Setting("all-search, single-shot", (1, 2, 4, 5), 1),
    "all_multi": Setting("all-search, multi-shot", (1, 2, 4, 5), 10),
    "indoor_single": Setting("indoor-search, single-shot", (1, 2), 1),
    "indoor_multi": Setting("indoor-search, multi-shot", (1, 2), 10),
}


def read(root: str | os.PathLike) -> Records:
    """Reads the tree: `cam1`..`cam6`/`0001`../`0001.jpg`.., identities by split in `exp/*_id.txt`.

    The name of an image is its number, to which rand_perm_cam.mat refers. Identities that no split lists are left out,
    as in the dataset's own protocol, and so is what is no image; both are counted on stderr.

    Raises:
        UserError: for a missing folder or list, a list that cannot be read, an identity that is listed and has no
            image, an identity in two splits, or an image whose name is no number or that of another one.
    """
    root = existing(root, "sysu_mm01")
    split_of = _splits(root)
    images, left_out, unlisted = [], [], set()
    for camera, modality in MODALITY.items():
        folder = subfolder(root, f"cam{camera}", TITLE)
        numbers: dict[tuple[int, int], str] = {}  # (person, image number) -> path
        for person in sorted(os.scandir(folder), key=lambda entry: entry.name):
            person_id = int(person.name) if is_number(person.name) and person.is_dir() else None
            if person_id is not None and person_id not in split_of:
                unlisted.add(person.name)
            elif person_id is not None:
                names, others = images_in(person.path)
                left_out += others
                for path in (f"{folder.name}/{person.name}/{name}" for name in names):
                    _claim_number(numbers, root, person_id, path)
                    images.append((path, person_id, camera, modality, split_of[person_id]))
            elif not person.name.startswith("."):
                left_out += files_below(person.path) if person.is_dir() else [person.path]
    say_left_out(root, left_out, "files that are no images or in an unexpected folder")
    say_left_out(root, sorted(unlisted), "identities that no list in exp names")
    for person_id in sorted(split_of.keys() - {image[1] for image in images}):
        raise UserError(
            f"{root}/exp/{split_of[person_id]}_id.txt lists identity {person_id}, but there is no "
            f"cam1..cam6/{person_id:04d}/*.jpg; complete the copy or take the identity off the list."
        )
    return tabulate(images, _image_number)


def _image_number(path: str) -> int:
    return int(Path(path).stem)


def _claim_number(numbers: dict[tuple[int, int], str], root: Path, person_id: int, path: str) -> None:
    """Notes an image's number. Refuses a name that is no number from 1, and a second image with the same number."""
    if not is_number(Path(path).stem) or not _image_number(path):
        raise UserError(
            f"{root}/{path} is not named by its number (0001.jpg is image 1), to which rand_perm_cam.mat refers; "
            f"give the image the name that it has in {TITLE}."
        )
    other = numbers.setdefault((person_id, _image_number(path)), path)
    if other != path:
        raise UserError(
            f"{root}/{path} and {other} are both image {_image_number(path)} of identity {person_id}; take one out."
        )


def searches(records: Records, protocol: str, galleries: Path) -> list[Search]:
    """Draws the galleries of a protocol.

    Args:
        records: the test images.
        protocol: one of `PROTOCOLS`.
        galleries: rand_perm_cam.mat, or the dataset's folder, which has it directly or under exp. `agw` needs none.

    Raises:
        UserError: for a missing, damaged or unsuitable rand_perm_cam.mat, or an image of a camera that SYSU-MM01 does
            not have.
    """
    permutations = None if protocol == "agw" else read_permutations(_permutation_file(galleries))
    return drawn_searches(records, protocol, permutations)


def drawn_searches(
    records: Records,
    protocol: str = "official",
    permutations: Permutations | None = None,
) -> list[Search]:
    """Makes the searches of all `SETTINGS` from permutations.

    Args:
        records: the test images.
        protocol: one of `PROTOCOLS`.
        permutations: what `read_permutations` gives; None for `agw`.

    Raises:
        UserError: for an image of an unknown camera, or images that are not those the permutations name.
    """
    _check_cameras(records)
    people = np.unique(records.person_id)
    table = rows_by_person_and_camera(records)
    if protocol != "agw":
        assert permutations is not None
        _check_images(table, records.index, permutations, people)
    probes = {camera: _rows(table, (camera,)) for camera, modality in MODALITY.items() if modality == IR}
    return [
        Search(
            name,
            setting.title,
            np.concatenate([probes[camera] for camera in setting.probe_cameras(protocol)]),
            tuple(_draw(protocol, setting, trial, table, people, permutations) for trial in range(TRIALS)),
            same_place,
            "identity",
        )
        for name, setting in SETTINGS.items()
    ]


def same_place(probe: Labelled, gallery: Labelled) -> Bool[np.ndarray, "p g"]:
    """Hides camera 2 from camera 3, which stands in the same place."""
    return (probe.camera == 3)[:, None] & (gallery.camera == 2)


def modality_of(camera: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Returns each image's modality, 0 RGB or 1 IR, from its camera."""
    return np.isin(camera, [number for number, modality in MODALITY.items() if modality == IR]).astype(np.int32)


def _splits(root: Path) -> dict[int, str]:
    """Reads the split of each listed identity. A list that names nobody is named on stderr, as are no lists at all of
    those who train.
    """
    subfolder(root, "exp", TITLE)
    split_of: dict[int, str] = {}
    names = {split: f"exp/{split}_id.txt" for split in SPLITS}
    only_tests = has_only_tests(root, (names["train"], names["val"]), (names["test"],))
    for split in ("test",) if only_tests else SPLITS:
        path = root / names[split]
        if not path.is_file():
            raise UserError(f"{path} is missing; it lists SYSU-MM01's {split} identities, separated by commas.")
        entries = read_words(path, SEPARATORS)
        if not entries:
            print(f"{path} names nobody.", file=sys.stderr)
        for entry in entries:
            if not is_number(entry):
                raise UserError(
                    f'{path} has "{shortened(entry)}" where an identity\'s number should be; correct that line.'
                )
            if split_of.setdefault(int(entry), split) != split:
                raise UserError(
                    f"{path} lists identity {entry}, and so does {split_of[int(entry)]}_id.txt; "
                    f"take it off one of them."
                )
    if not split_of:
        raise UserError(f"{root}/exp lists no identity; list those that train and test, separated by commas.")
    return split_of


def _permutation_file(galleries: Path) -> Path:
    """Finds rand_perm_cam.mat in the dataset's folder: releases differ in where they have it."""
    if not galleries.is_dir():
        return galleries
    path = galleries / "rand_perm_cam.mat"
    return path if path.is_file() else galleries / "exp" / "rand_perm_cam.mat"


# (person_id, camera) -> rows of the records, by image number.
Table = dict[tuple[int, int], np.ndarray]


def _rows(table: Table, cameras: Sequence[int]) -> Int[np.ndarray, "n"]:
    return np.concatenate([rows for (_, camera), rows in table.items() if camera in cameras] or [np.zeros(0, np.int64)])


def _check_cameras(records: Records) -> None:
    for row in np.flatnonzero(~np.isin(records.camera, list(MODALITY))):
        raise UserError(f"{records.image(row)} cannot be scored: {TITLE} has the cameras 1 to {len(MODALITY)}.")
    for row in np.flatnonzero(records.modality != modality_of(records.camera)):
        kinds = [MODALITIES[number].upper() for number in (records.modality[row], MODALITY[int(records.camera[row])])]
        raise UserError(f"{records.image(row)} cannot be scored: it is {kinds[0]}, and that camera is {kinds[1]}.")


def _check_images(table: Table, index: np.ndarray, permutations: Permutations, people: np.ndarray) -> None:
    """Refuses a person and camera that has other images than the permutations name."""
    for person in people.tolist():
        for camera in MODALITY:
            named = permutations.get((camera, person), np.zeros((TRIALS, 0))).shape[1]
            present = index[table.get((person, camera), np.zeros(0, np.int64))]
            if not np.array_equal(present, np.arange(1, named + 1)):
                images = f"the images 1 to {named}" if named else "none"
                absent = np.setdiff1d(np.arange(1, named + 1), present)
                without = f", without number {absent[0]}" if len(absent) else ""
                raise UserError(
                    f"Identity {person} has {len(present)} images in camera {camera} here{without}, but "
                    f"rand_perm_cam.mat names "
                    f"{images}; complete the images, or use the file that was made for these."
                )


def _draw(
    protocol: str,
    setting: Setting,
    trial: int,
    table: Table,
    people: np.ndarray,
    permutations: Permutations | None,
) -> Int[np.ndarray, "n"]:
    """Draws the gallery of one trial."""
    generator = random.Random(trial)
    chosen = []
    for person in people.tolist():
        by_camera = []
        for camera in setting.gallery_cameras:
            rows = table.get((person, camera))
            if rows is None:
                continue
            if protocol != "agw":
                assert permutations is not None
                by_camera.append(rows[permutations[camera, person][trial] - 1].tolist())
            elif setting.shots == 1:
                by_camera.append([generator.choice(rows.tolist())])
            else:
                by_camera.append(generator.sample(rows.tolist(), min(setting.shots, len(rows))))
        if protocol == "paper" and setting.shots > 1:
            in_turn = [row for turn in zip_longest(*by_camera) for row in turn if row is not None]
            chosen += in_turn[: setting.shots]
        else:
            chosen += [row for rows in by_camera for row in rows[: setting.shots]]
    return np.array(chosen, np.int64)


SYSU_MM01 = Dataset(
    name="sysu_mm01",
    title=TITLE,
    description="RGB-infrared person re-identification: 491 people, four RGB and two infrared cameras.",
    read=read,
    splits={"train": ("train",), "trainval": ("train", "val"), "val": ("val",), "test": ("test",)},
    protocols=PROTOCOLS,
    searches=searches,
    homepage="https://github.com/wuancong/SYSU-MM01",
    citation="""@inproceedings{wu2017rgb,
  title = {{RGB}-Infrared Cross-Modality Person Re-Identification},
  author = {Wu, Ancong and Zheng, Wei-Shi and Yu, Hong-Xing and Gong, Shaogang and Lai, Jianhuang},
  booktitle = {International Conference on Computer Vision},
  year = {2017}
}""",
    instructions=(
        "manual_dir is the dataset's own tree: cam1 to cam6 and exp; its authors send it on request. "
        "To draw one: python -m rgbir_jax.synthetic --out DIR"
    ),
    identities={"trainval": 395, "train": 296},
    published={"identities": 491, "cameras": 6, "training images": 34_167, "test identities": 96},
    marks=("exp", *(f"cam{camera}" for camera in MODALITY)),
    gallery_files=dict.fromkeys(("official", "paper"), f"rand_perm_cam.mat: {PERMUTATIONS_FROM}"),
)
