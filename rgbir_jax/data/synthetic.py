"""Draws a dataset of people in SYSU-MM01's own tree, or in Market-1501's.

    python -m rgbir_jax.data.synthetic --out data/drawn --train 96 --val 16 --test 32 --images 6

The same arguments give the same files. A stopped run goes on when the command is given again. `--exact` takes
identities, cameras and counts from a dataset's own rand_perm_cam.mat and identity lists. `factors.csv` says what
every picture shows.
"""

import argparse
import csv
import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.io
from PIL import Image
from tqdm import tqdm

from rgbir_jax.data.drawing import MARKET_CAMERAS, SYSU_CAMERAS, Camera, Identity, Pose, draw
from rgbir_jax.data.sysu_lists import TRIALS, read_ids, read_permutations

# Independent streams of one seed.
_IDENTITY, _POSE, _PLAN, _PERMUTATION = range(4)

_MARKET_PEOPLE = 100_000  # added to a person's number in Market-1501's tree: nobody is in both datasets
_VERSION = 1  # of the drawing: to be raised when the same arguments come to give other pictures

_PERMUTATIONS = "rand_perm_cam.mat"
_SPLITS = ("train", "val", "test")
_JUNK = "-1"  # how the names of Market-1501's unusable images begin
_UNFINISHED = ".unfinished"  # below the dataset's root while it is drawn
_QUALITY = 92  # of the JPEG files


class Shot(NamedTuple):
    """One picture to draw.

    Attributes:
        path: below the dataset's root.
        person: seed of the identity.
        camera: who looks.
        number: of the picture within person and camera.
    """

    path: str
    person: int
    camera: Camera
    number: int


class Plan(NamedTuple):
    """A whole dataset before it is drawn.

    Attributes:
        shots: every picture.
        files: content of the files that come with them, by path below the dataset's root.
        folders: that exist even where no picture is in them.
    """

    shots: list[Shot]
    files: dict[str, bytes]
    folders: tuple[str, ...]


def sysu_plan(train: int, val: int, test: int, images: int, seed: int) -> Plan:
    """People seen by most of SYSU-MM01's six cameras, `images` times by each.

    Like the real ones, not everybody is seen by every camera, but everybody by one RGB and one IR camera at least.

    Args:
        train: identities, likewise `val` and `test`.
        val: see `train`.
        test: see `train`.
        images: of each identity in each camera that sees it, at least 2.
        seed: not negative.
    """
    sizes = (train, val, test)
    edges = np.cumsum([1, *sizes])
    ids = {split: range(edges[i], edges[i + 1]) for i, split in enumerate(_SPLITS)}
    counts: dict[tuple[int, int], int] = {}
    for person in range(1, sum(sizes) + 1):
        rng = _generator(seed, _PLAN, person)
        seen = rng.random(6) < 0.85
        seen[rng.choice((0, 1, 3, 4))] = seen[rng.choice((2, 5))] = True
        counts |= {(camera + 1, person): images for camera in np.flatnonzero(seen).tolist()}
    return _sysu(counts, ids, _permutations(counts, seed))


def exact_plan(rand_perm: str, lists: str) -> Plan:
    """The identities, cameras and counts of a dataset's own files; its permutations are copied.

    Args:
        rand_perm: its rand_perm_cam.mat.
        lists: folder with train_id, val_id and test_id, each .mat or .txt. Without val_id, the validation identities
            are those in neither list whom an RGB and an IR camera saw: in SYSU-MM01 its own 99.

    Raises:
        FileNotFoundError, ValueError: where a file is not there or holds something else.
    """
    permutations = read_permutations(rand_perm)
    cameras = defaultdict(set)
    for camera, person in permutations:
        cameras[person].add(SYSU_CAMERAS[camera - 1].infrared)
    ids: dict[str, list[int]] = {}
    for split in ("train", "test", "val"):
        paths = [path for suffix in (".mat", ".txt") if (path := Path(lists) / f"{split}_id{suffix}").is_file()]
        if paths:
            ids[split] = read_ids(paths[0]).tolist()
        elif split == "val":
            ids[split] = sorted(person for person in cameras.keys() - _listed(ids) if len(cameras[person]) == 2)
        else:
            raise FileNotFoundError(f"{lists} has neither {split}_id.mat nor {split}_id.txt; copy it there.")
    wanted = _listed(ids)
    absent = sorted(wanted - cameras.keys())
    if absent:
        raise ValueError(f"{lists} lists identity {absent[0]}, whom {rand_perm} does not have; they must go together.")
    counts = {key: rows.shape[1] for key, rows in permutations.items() if key[1] in wanted}
    return _sysu(counts, ids, Path(rand_perm).read_bytes())


def market_plan(train: int, test: int, images: int, seed: int) -> Plan:
    """People by day in Market-1501's six cameras; one query of each test identity in each camera that sees it.

    Two cameras at least see everybody. The gallery has distractors (0000), one for each test identity, and as many
    junk images (-1), cut off at the knees.

    Args:
        train: identities, at least 1.
        test: identities, at least 1.
        images: of each identity in each camera that sees it, at least 2.
        seed: not negative.
    """
    shots = []
    for person in range(1, train + 2 * test + 1):
        rng = _generator(seed, _PLAN, person)
        seen = rng.random(6) < 0.7
        seen[rng.choice(6, 2, replace=False)] = True
        distractor = person > train + test
        for camera in (camera for camera, sees in zip(MARKET_CAMERAS, seen, strict=True) if sees):
            for number in range(1, 2 if distractor else images + 1):
                if person <= train:
                    folder = "bounding_box_train"
                else:
                    folder = "query" if number == 1 and not distractor else "bounding_box_test"
                shots.append(_market_shot(folder, "0000" if distractor else f"{person:04d}", person, camera, number))
    for junk in range(test):
        person, camera = train + 1 + junk, MARKET_CAMERAS[junk % 6]
        shots.append(_market_shot("bounding_box_test", _JUNK, person, camera, images + 1))
    return Plan(shots, {}, ())


def write(plan: Plan, root: str | Path, *, seed: int, size: tuple[int, int], arguments: dict, workers: int = 0) -> None:
    """Draws what is not there yet of a plan.

    Args:
        plan: what to draw.
        root: folder of the dataset.
        seed: not negative.
        size: height and width in pixels.
        arguments: what the plan was made from; another dataset's folder is refused by them.
        workers: processes; 0 for one a core.

    Raises:
        FileExistsError: where `root` holds another dataset.
    """
    root = Path(root)
    _claim(root, {"version": _VERSION, "seed": seed, "size": list(size)} | arguments)
    for folder in {*plan.folders, *(os.path.dirname(shot.path) for shot in plan.shots)}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    missing = [shot for shot in plan.shots if not (root / shot.path).is_file()]
    done = _each(partial(_draw, root=root, seed=seed, size=size), missing, workers or os.cpu_count() or 1)
    for _ in tqdm(done, str(root), len(plan.shots), initial=len(plan.shots) - len(missing), unit="image"):
        pass
    for path, content in plan.files.items():
        _put(root, path, content)
    _put(root, "factors.csv", _table(plan.shots, seed))
    shutil.rmtree(root / _UNFINISHED, ignore_errors=True)


def _each(task: Callable[[Shot], None], shots: list[Shot], workers: int) -> Iterator[None]:
    """Does the task for every shot, in as many processes."""
    if workers == 1 or not shots:
        yield from map(task, shots)
        return
    # Ctrl-C reaches every process of a terminal; the first one alone answers it.
    with multiprocessing.get_context("spawn").Pool(workers, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield from pool.imap_unordered(task, shots, chunksize=32)


def _sysu(counts: Mapping[tuple[int, int], int], ids: Mapping[str, Iterable[int]], permutations: bytes) -> Plan:
    shots = [
        Shot(f"cam{camera}/{person:04d}/{number:04d}.jpg", person, SYSU_CAMERAS[camera - 1], number)
        for (camera, person), count in sorted(counts.items())
        for number in range(1, count + 1)
    ]
    lists = {f"exp/{split}_id.txt": people for split, people in ids.items()}
    lists["exp/available_id.txt"] = sorted(_listed(ids))
    files = {path: (",".join(map(str, people)) + "\n").encode() for path, people in lists.items()}
    folders = ("exp", *(f"cam{camera.number}" for camera in SYSU_CAMERAS))
    return Plan(shots, files | {_PERMUTATIONS: permutations}, folders)


def _listed(ids: Mapping[str, Iterable[int]]) -> set[int]:
    return {person for people in ids.values() for person in people}


def _market_shot(folder: str, name: str, person: int, camera: Camera, number: int) -> Shot:
    path = f"{folder}/{name}_c{camera.number}s1_{1000 * person + number:06d}_{number:02d}.jpg"
    return Shot(path, _MARKET_PEOPLE + person, camera, number)


def _generator(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


def _identity(person: int, seed: int) -> Identity:
    return Identity.random(_generator(seed, _IDENTITY, person))


def _pose(shot: Shot, seed: int) -> tuple[Pose, int]:
    """(pose, seed of the grain)."""
    rng = _generator(seed, _POSE, shot.person, shot.camera.number, shot.number)
    return Pose.random(rng), int(rng.integers(2**31))


def _draw(shot: Shot, root: Path, seed: int, size: tuple[int, int]) -> None:
    pose, grain = _pose(shot, seed)
    picture = Image.fromarray(draw(_identity(shot.person, seed), pose, shot.camera, grain, size))
    if os.path.basename(shot.path).startswith(_JUNK):
        picture = picture.crop((0, 0, picture.width, 2 * picture.height // 3)).resize(picture.size)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    _put(root, shot.path, file.getvalue())


def _claim(root: Path, arguments: dict) -> None:
    """Notes what a folder holds, or refuses to mix two datasets."""
    manifest = root / "drawn.json"
    if manifest.is_file():
        before = json.loads(manifest.read_text())
        differing = sorted(name for name in before.keys() | arguments.keys() if before.get(name) != arguments.get(name))
        if differing:
            raise FileExistsError(
                f"{root} holds a dataset drawn with another {', '.join(differing)}; choose another --out or remove it."
            )
    elif root.is_dir() and set(os.listdir(root)) - {_UNFINISHED}:
        raise FileExistsError(f"{root} is not empty and was not drawn by this program; choose another --out.")
    (root / _UNFINISHED).mkdir(parents=True, exist_ok=True)
    _put(root, manifest.name, (json.dumps(arguments, indent=1) + "\n").encode())


def _put(root: Path, path: str, content: bytes) -> None:
    """Writes a file at once, so that a killed run leaves no half of one."""
    temporary = root / _UNFINISHED / str(os.getpid())
    temporary.write_bytes(content)
    os.replace(temporary, root / path)


def _permutations(counts: Mapping[tuple[int, int], int], seed: int) -> bytes:
    """The cell of cameras of identities of permutations that SYSU-MM01's official evaluation reads."""
    people = max(person for _, person in counts)
    cameras = np.empty((6, 1), object)
    for camera in range(1, 7):
        cell = np.empty((people, 1), object)
        for person in range(1, people + 1):
            count = counts.get((camera, person), 0)
            rng = _generator(seed, _PERMUTATION, camera, person)
            rows = [rng.permutation(count) + 1 for _ in range(TRIALS)]
            cell[person - 1, 0] = np.array(rows, np.uint16) if count else np.zeros((0, 0), np.uint16)
        cameras[camera - 1, 0] = cell
    file = io.BytesIO()
    scipy.io.savemat(file, {"rand_perm_cam": cameras})
    # The format begins with 116 bytes of free text, where SciPy puts the time of day.
    return b"MATLAB 5.0 MAT-file".ljust(116) + file.getvalue()[116:]


def _table(shots: list[Shot], seed: int) -> bytes:
    """A row a picture: where it is, and every factor of identity, pose and camera."""
    people = {person: _flat("identity", _identity(person, seed)) for person in {shot.person for shot in shots}}
    rows = []
    for shot in shots:
        pose, grain = _pose(shot, seed)
        place = {"path": shot.path, "person": shot.person, "number": shot.number, "seed": grain}
        rows.append(place | people[shot.person] | _flat("pose", pose) | _flat("camera", shot.camera))
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _flat(prefix: str, value) -> dict:
    """The fields of nested dataclasses in one row; a colour has a column a channel."""
    row = {}
    for field in dataclasses.fields(value):
        name, inner = f"{prefix}.{field.name}", getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            row |= _flat(name, inner)
        elif isinstance(inner, tuple):
            row |= {f"{name}.{channel}": f"{v:.4f}" for channel, v in zip("rgb", inner, strict=True)}
        elif isinstance(inner, bool):
            row[name] = int(inner)
        else:
            row[name] = f"{inner:.4f}" if isinstance(inner, float) else inner
    return row


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder of the dataset")
    parser.add_argument("--layout", choices=("sysu_mm01", "market1501"), default="sysu_mm01")
    parser.add_argument("--train", type=int, default=296, help="training identities")
    parser.add_argument("--val", type=int, default=99, help="validation identities (SYSU-MM01)")
    parser.add_argument("--test", type=int, default=96, help="test identities")
    parser.add_argument("--images", type=int, default=12, help="images of an identity in a camera, at least 2")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exact", metavar="RAND_PERM", help="a rand_perm_cam.mat whose identities and counts to take")
    parser.add_argument("--ids", metavar="FOLDER", help="with --exact: where train_id, val_id and test_id are")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 for one a core")
    given = parser.parse_args(argv)
    if min(given.train, given.val, given.test) < 0 or given.train + given.val + given.test == 0 or given.images < 2:
        parser.error("--train, --val and --test count identities and --images must be at least 2.")
    if min(given.size) < 16 or min(given.seed, given.workers) < 0:
        parser.error("--size must be at least 16 each way, --seed and --workers not negative.")
    if given.layout == "market1501" and min(given.train, given.test) == 0:
        parser.error("--layout market1501 needs at least one identity each for --train and --test.")
    if bool(given.exact) != bool(given.ids) or (given.exact and given.layout != "sysu_mm01"):
        parser.error("--exact and --ids go together, with the layout sysu_mm01.")

    arguments: dict = {"layout": given.layout}
    try:
        if given.exact:
            plan = exact_plan(given.exact, given.ids)
            contents = b"".join(plan.files[path] for path in sorted(plan.files))
            arguments["exact"] = hashlib.sha256(contents).hexdigest()
        elif given.layout == "market1501":
            plan = market_plan(given.train, given.test, given.images, given.seed)
        else:
            plan = sysu_plan(given.train, given.val, given.test, given.images, given.seed)
        if not given.exact:
            arguments |= {name: getattr(given, name) for name in ("train", "val", "test", "images")}
        write(plan, given.out, seed=given.seed, size=tuple(given.size), arguments=arguments, workers=given.workers)
    except (OSError, ValueError) as error:
        sys.exit(f"synthetic: {error}")
    except KeyboardInterrupt:
        sys.exit("synthetic: stopped; the same command goes on.")


if __name__ == "__main__":
    main()
