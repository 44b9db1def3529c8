"""Plans of datasets: which person is seen by which camera, how often, and in which file."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rgbir_jax.datasets.regdb import FOLDS
from rgbir_jax.datasets.sysu_lists import read_ids, read_permutations
from rgbir_jax.errors import UserError
from rgbir_jax.synthetic.camera import LLCM_CAMERAS, MARKET_CAMERAS, REGDB_CAMERAS, SYSU_CAMERAS, Camera
from rgbir_jax.synthetic.seeds import Stream, generator
from rgbir_jax.synthetic.shot import JUNK, Shot
from rgbir_jax.synthetic.sysu_files import PERMUTATIONS_FILE, random_permutations

_SPLITS = ("train", "val", "test")
# Added to person numbers, so that nobody is in the trees of two datasets.
_MARKET_OFFSET, _REGDB_OFFSET, _LLCM_OFFSET, _FOLDERS_OFFSET = 100_000, 200_000, 300_000, 400_000


class Plan(NamedTuple):
    """A whole dataset before it is drawn.

    Attributes:
        shots: all pictures.
        files: the content of the other files, by path relative to the dataset's root.
        folders: the folders that must exist even if they contain no picture.
    """

    shots: list[Shot]
    files: dict[str, bytes]
    folders: tuple[str, ...]


def sysu_plan(train: int, val: int, test: int, images: int, seed: int) -> Plan:
    """Plans people who are seen by most of SYSU-MM01's six cameras.

    As in the real dataset, not every camera sees everybody. At least one RGB and one infrared camera see each person.

    Args:
        train: the number of training identities.
        val: the number of validation identities.
        test: the number of test identities.
        images: the number of images per identity and camera that sees it, at least 2.
        seed: the dataset's seed, not negative.
    """
    counts = _visible(train + val + test, images, seed)
    return _sysu(counts, _ranges(train, val, test), random_permutations(counts, seed))


def folders_plan(train: int, val: int, test: int, images: int, seed: int) -> Plan:
    """Plans people who are seen by SYSU-MM01's cameras, in one's own folders with lists of people and cameras.

    Args:
        train: the number of training identities, at least 1.
        val: the number of validation identities.
        test: the number of test identities, at least 1.
        images: the number of images per identity and camera that sees it, at least 2.
        seed: the dataset's seed, not negative.
    """
    shots = [
        _folders_shot(person, SYSU_CAMERAS[camera - 1], number)
        for (camera, person), count in sorted(_visible(train + val + test, images, seed).items())
        for number in range(1, count + 1)
    ]
    files = {
        f"{split}.txt": "".join(f"{_folders_name(person)}\n" for person in people).encode()
        for split, people in _ranges(train, val, test).items()
        if people
    }
    rows = [f"{shot.path},{shot.camera.number}" for shot in shots]
    return Plan(shots, files | {"cameras.csv": "\n".join(["path,camera", *rows, ""]).encode()}, ())


def exact_plan(rand_perm: str, lists: str) -> Plan:
    """Plans the identities, cameras and image counts of a real SYSU-MM01. Its permutations are copied.

    Args:
        rand_perm: the path of its rand_perm_cam.mat.
        lists: the folder with train_id, val_id and test_id, each .mat or .txt. If val_id is missing, the validation
            identities are those in neither list that both an RGB and an infrared camera see: SYSU-MM01's own 99.

    Raises:
        UserError: if a file is missing or damaged, or if the files do not belong together.
    """
    counts = {key: rows.shape[1] for key, rows in read_permutations(rand_perm).items()}
    modalities = defaultdict(set)
    for camera, person in counts:
        modalities[person].add(SYSU_CAMERAS[camera - 1].infrared)
    ids: dict[str, list[int]] = {}
    for split in ("train", "test", "val"):
        paths = [path for suffix in (".mat", ".txt") if (path := Path(lists) / f"{split}_id{suffix}").is_file()]
        if paths:
            ids[split] = read_ids(paths[0]).tolist()
        elif split == "val":
            others = modalities.keys() - _union(ids)
            ids[split] = sorted(person for person in others if len(modalities[person]) == 2)
        else:
            raise UserError(f"{lists} has neither {split}_id.mat nor {split}_id.txt; copy one of them there.")
    listed = _union(ids)
    unknown = sorted(listed - modalities.keys())
    if unknown:
        raise UserError(
            f"{lists} lists identity {unknown[0]}, which {rand_perm} does not contain; use files of the same dataset."
        )
    counts = {key: count for key, count in counts.items() if key[1] in listed}
    return _sysu(counts, ids, Path(rand_perm).read_bytes())


def market_plan(train: int, test: int, images: int, seed: int) -> Plan:
    """Plans people by day in Market-1501's six cameras.

    At least two cameras see each person. Each test identity has one query per camera that sees it. The gallery also
    has one distractor (0000) and one junk image (-1), cut off at the knees, per test identity.

    Args:
        train: the number of training identities, at least 1.
        test: the number of test identities, at least 1.
        images: the number of images per identity and camera that sees it, at least 2.
        seed: the dataset's seed, not negative.
    """
    shots = []
    for person in range(1, train + 2 * test + 1):
        rng = generator(seed, Stream.PLAN, person)
        visible = rng.random(6) < 0.7
        visible[rng.choice(6, 2, replace=False)] = True
        distractor = person > train + test
        for camera in compress(MARKET_CAMERAS, visible):
            for number in range(1, 2 if distractor else images + 1):
                if person <= train:
                    folder = "bounding_box_train"
                else:
                    folder = "query" if number == 1 and not distractor else "bounding_box_test"
                shots.append(_market_shot(folder, "0000" if distractor else f"{person:04d}", person, camera, number))
    for junk in range(test):
        person, camera = train + 1 + junk, MARKET_CAMERAS[junk % 6]
        shots.append(_market_shot("bounding_box_test", JUNK, person, camera, images + 1))
    return Plan(shots, {}, ())


def regdb_plan(train: int, test: int, images: int, seed: int) -> Plan:
    """Plans people in front of RegDB's two cameras, and its ten folds: random divisions of the same people.

    Args:
        train: the number of training identities of each fold, at least 1.
        test: the number of test identities of each fold, at least 1.
        images: the number of images per identity and camera, at least 2.
        seed: the dataset's seed, not negative.
    """
    shots = [
        Shot(_regdb_path(person, camera, number), _REGDB_OFFSET + person, camera, number)
        for person in range(1, train + test + 1)
        for camera in REGDB_CAMERAS
        for number in range(1, images + 1)
    ]
    files = {}
    for fold in FOLDS:
        people = 1 + generator(seed, Stream.FOLD, fold).permutation(train + test)
        for split, members in (("train", people[:train]), ("test", people[train:])):
            label = {_REGDB_OFFSET + person: label for label, person in enumerate(sorted(members.tolist()))}
            for name, camera in zip(("visible", "thermal"), REGDB_CAMERAS, strict=True):
                listed = [shot for shot in shots if shot.camera is camera and shot.person in label]
                files[f"idx/{split}_{name}_{fold}.txt"] = _index(listed, label)
    return Plan(shots, files, ("idx",))


def llcm_plan(train: int, test: int, images: int, seed: int) -> Plan:
    """Plans people who are seen by some of LLCM's nine cameras, in visible light and in infrared.

    At least two cameras see each person in either modality.

    Args:
        train: the number of training identities, at least 1.
        test: the number of test identities, at least 1.
        images: the number of images per identity, camera and modality, at least 2.
        seed: the dataset's seed, not negative.
    """
    shots = []
    for person in range(1, train + test + 1):
        rng = generator(seed, Stream.PLAN, person)
        visible = rng.random(18) < 0.3
        for modality in (0, 9):
            visible[modality + rng.choice(9, 2, replace=False)] = True
        for camera in compress(LLCM_CAMERAS, visible):
            first = images + 1 if camera.infrared else 1  # the same camera by day and by night shows other poses
            shots += [_llcm_shot(person, camera, number) for number in range(first, first + images)]
    files = {}
    for split, people in (("train", range(1, train + 1)), ("test", range(train + 1, train + test + 1))):
        label = {_LLCM_OFFSET + person: label for label, person in enumerate(people)}
        for name in ("vis", "nir"):
            listed = [shot for shot in shots if shot.path.startswith(name) and shot.person in label]
            files[f"idx/{split}_{name}.txt"] = _index(listed, label)
    return Plan(shots, files, ("idx",))


def _ranges(train: int, val: int, test: int) -> dict[str, range]:
    """Returns the persons of each split, numbered from 1."""
    edges = np.cumsum([1, train, val, test])
    return {split: range(edges[i], edges[i + 1]) for i, split in enumerate(_SPLITS)}


def _visible(people: int, images: int, seed: int) -> dict[tuple[int, int], int]:
    """Draws which of SYSU-MM01's cameras see each person. Returns the number of images by (camera, person)."""
    counts: dict[tuple[int, int], int] = {}
    for person in range(1, people + 1):
        rng = generator(seed, Stream.PLAN, person)
        visible = rng.random(6) < 0.85
        visible[rng.choice((0, 1, 3, 4))] = visible[rng.choice((2, 5))] = True
        counts |= {(camera + 1, person): images for camera in np.flatnonzero(visible).tolist()}
    return counts


def _sysu(counts: Mapping[tuple[int, int], int], ids: Mapping[str, Iterable[int]], permutations: bytes) -> Plan:
    """Plans SYSU-MM01's tree.

    Args:
        counts: the number of images by (camera, person), both from 1.
        ids: the persons of each split.
        permutations: the content of rand_perm_cam.mat.
    """
    shots = [
        Shot(f"cam{camera}/{person:04d}/{number:04d}.jpg", person, SYSU_CAMERAS[camera - 1], number)
        for (camera, person), count in sorted(counts.items())
        for number in range(1, count + 1)
    ]
    lists = {f"exp/{split}_id.txt": people for split, people in ids.items()}
    lists["exp/available_id.txt"] = sorted(_union(ids))
    files = {path: (",".join(map(str, people)) + "\n").encode() for path, people in lists.items()}
    folders = ("exp", *(f"cam{camera.number}" for camera in SYSU_CAMERAS))
    return Plan(shots, files | {PERMUTATIONS_FILE: permutations}, folders)


def _union(ids: Mapping[str, Iterable[int]]) -> set[int]:
    return {person for people in ids.values() for person in people}


def _market_shot(folder: str, name: str, person: int, camera: Camera, number: int) -> Shot:
    path = f"{folder}/{name}_c{camera.number}s1_{1000 * person + number:06d}_{number:02d}.jpg"
    return Shot(path, _MARKET_OFFSET + person, camera, number)


def _regdb_path(person: int, camera: Camera, number: int) -> str:
    folder, letter = ("Thermal", "t") if camera.infrared else ("Visible", "v")
    return f"{folder}/{person}/drawn_{letter}_{number:05d}_{person}.bmp"


def _llcm_shot(person: int, camera: Camera, number: int) -> Shot:
    modality = "nir" if camera.infrared else "vis"
    path = f"{modality}/{person:04d}/{person:04d}_c{camera.number:02d}_s000001_f{number:04d}_{modality}.jpg"
    return Shot(path, _LLCM_OFFSET + person, camera, number)


def _folders_name(person: int) -> str:
    return f"person_{person:04d}"


def _folders_shot(person: int, camera: Camera, number: int) -> Shot:
    modality = "ir" if camera.infrared else "rgb"
    path = f"{modality}/{_folders_name(person)}/cam{camera.number}_{number:04d}.jpg"
    return Shot(path, _FOLDERS_OFFSET + person, camera, number)


def _index(shots: Iterable[Shot], label: Mapping[int, int]) -> bytes:
    """Returns the content of an index file: each picture's path and its person's label."""
    return "".join(f"{shot.path} {label[shot.person]}\n" for shot in shots).encode()
