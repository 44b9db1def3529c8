"""Draws a dataset of people in SYSU-MM01's own tree, or in Market-1501's.

    python -m rgbir_jax.data.synthetic --out data/drawn --train 96 --val 16 --test 32 --images 6

The same arguments give the same files. A stopped run goes on when the command is given again. `--exact` takes identities,
cameras and counts from a dataset's own rand_perm_cam.mat and identity lists. `factors.csv` says what every picture shows.
"""

import argparse
import csv
import dataclasses
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.io
from PIL import Image
from tqdm import tqdm

from rgbir_jax.data.drawing import MARKET_CAMERAS, SYSU_CAMERAS, Camera, Identity, Pose, draw
from rgbir_jax.evaluation.protocols import TRIALS, read_ids, read_permutations

# Independent streams of one seed.
_IDENTITY, _POSE, _PLAN, _PERMUTATION = range(4)

_SPLITS = ("train", "val", "test")
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
        texts: further files by path.
        counts: pictures by (camera, identity); empty for Market-1501.
    """

    shots: list[Shot]
    texts: dict[str, str]
    counts: dict[tuple[int, int], int]


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
    counts = {}
    for person in range(1, sum(sizes) + 1):
        rng = _generator(seed, _PLAN, person)
        seen = rng.random(6) < 0.85
        seen[rng.choice((0, 1, 3, 4))] = seen[rng.choice((2, 5))] = True
        counts |= {(camera + 1, person): images for camera in np.flatnonzero(seen).tolist()}
    return _sysu(counts, ids)


def exact_plan(rand_perm: str, lists: str) -> Plan:
    """The identities, cameras and counts of a dataset's own files.

    Args:
        rand_perm: its rand_perm_cam.mat.
        lists: folder with train_id, val_id and test_id, each .mat or .txt; val_id may be missing.

    Raises:
        FileNotFoundError, ValueError: where a file is not there or holds something else.
    """
    counts = {key: rows.shape[1] for key, rows in read_permutations(rand_perm).items()}
    ids = {}
    for split in _SPLITS:
        paths = [path for suffix in (".mat", ".txt") if (path := Path(lists) / f"{split}_id{suffix}").is_file()]
        if not paths and split != "val":
            raise FileNotFoundError(f"{lists} has neither {split}_id.mat nor {split}_id.txt; copy it there.")
        ids[split] = read_ids(paths[0]).tolist() if paths else []
    wanted = {person for people in ids.values() for person in people}
    return _sysu({key: count for key, count in counts.items() if key[1] in wanted}, ids)


def market_plan(train: int, test: int, images: int, seed: int) -> Plan:
    """People by day in Market-1501's six cameras; one query of each test identity in each camera that sees it.

    The gallery has distractors (0000), one for each test identity, and junk (-1) that is cut off at the knees.
    """
    shots = []
    for person in range(1, train + 2 * test + 1):
        seen = _generator(seed, _PLAN, person).random(6) < 0.7
        seen[:2] |= not seen.any()
        for camera in (camera for camera, sees in zip(MARKET_CAMERAS, seen, strict=True) if sees):
            for number in range(1, images + 1):
                if person <= train:
                    folder, name = "bounding_box_train", f"{person:04d}"
                elif person <= train + test:
                    folder, name = ("query" if number == 1 else "bounding_box_test"), f"{person:04d}"
                else:
                    folder, name = "bounding_box_test", "0000"
                    if number > 1:
                        continue
                path = f"{folder}/{name}_c{camera.number}s1_{1000 * person + number:06d}_{number:02d}.jpg"
                shots.append(Shot(path, person, camera, number))
    for junk in range(test):
        camera = MARKET_CAMERAS[junk % 6]
        person = train + 1 + junk
        path = f"bounding_box_test/-1_c{camera.number}s1_{1000 * person + 999:06d}_00.jpg"
        shots.append(Shot(path, person, camera, 999))
    return Plan(shots, {}, {})


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
    _claim(root, {"seed": seed, "size": list(size)} | arguments)
    for folder in {os.path.dirname(shot.path) for shot in plan.shots}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    missing = [shot for shot in plan.shots if not (root / shot.path).is_file()]
    task = partial(_draw, root=root, seed=seed, size=size)
    with multiprocessing.get_context("spawn").Pool(workers or os.cpu_count()) as pool:
        done = pool.imap_unordered(task, missing, chunksize=32)
        bar = tqdm(done, total=len(plan.shots), initial=len(plan.shots) - len(missing), unit="image", desc=str(root))
        for _ in bar:
            pass
    for path, text in plan.texts.items():
        _write_whole(root / path, text.encode())
    if plan.counts:
        _write_permutations(root / "rand_perm_cam.mat", plan.counts, seed)
    _write_factors(root / "factors.csv", plan.shots, seed)


def _sysu(counts: dict[tuple[int, int], int], ids: dict[str, Iterable[int]]) -> Plan:
    shots = [
        Shot(f"cam{camera}/{person:04d}/{number:04d}.jpg", person, SYSU_CAMERAS[camera - 1], number)
        for (camera, person), count in sorted(counts.items())
        for number in range(1, count + 1)
    ]
    lists = {f"exp/{split}_id.txt": people for split, people in ids.items()}
    lists["exp/available_id.txt"] = sorted(person for people in ids.values() for person in people)
    return Plan(shots, {path: ",".join(map(str, people)) + "\n" for path, people in lists.items()}, counts)


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
    target = root / shot.path
    if target.name.startswith("-1"):
        picture = picture.crop((0, 0, picture.width, 2 * picture.height // 3)).resize(picture.size)
    # Beside the images, so that a killed run leaves no half a file under a name that a reader looks for.
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    picture.save(temporary, "JPEG", quality=_QUALITY)
    os.replace(temporary, target)


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
    elif root.is_dir() and any(root.iterdir()):
        raise FileExistsError(f"{root} is not empty and was not drawn by this program; choose another --out.")
    root.mkdir(parents=True, exist_ok=True)
    _write_whole(manifest, (json.dumps(arguments, indent=1) + "\n").encode())


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _write_permutations(path: Path, counts: dict[tuple[int, int], int], seed: int) -> None:
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
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    scipy.io.savemat(temporary, {"rand_perm_cam": cameras}, appendmat=False)
    os.replace(temporary, path)


def _write_factors(path: Path, shots: list[Shot], seed: int) -> None:
    """A row a picture: where it is, and every factor of identity, pose and camera."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("w", newline="") as file:
        writer = None
        for row in _factors(shots, seed):
            if writer is None:
                writer = csv.DictWriter(file, fieldnames=list(row))
                writer.writeheader()
            writer.writerow(row)
    os.replace(temporary, path)


def _factors(shots: list[Shot], seed: int) -> Iterator[dict]:
    people = {person: _flat("identity", _identity(person, seed)) for person in {shot.person for shot in shots}}
    for shot in shots:
        camera = {"camera": shot.camera.number, "place": shot.camera.place, "infrared": int(shot.camera.infrared)}
        yield (
            {"path": shot.path, "person": shot.person}
            | camera
            | people[shot.person]
            | _flat("pose", _pose(shot, seed)[0])
        )


def _flat(prefix: str, value) -> dict:
    """The fields of nested dataclasses in one row; a colour has a column a channel."""
    row = {}
    for field in dataclasses.fields(value):
        name, inner = f"{prefix}.{field.name}", getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            row |= _flat(name, inner)
        elif isinstance(inner, tuple):
            row |= {f"{name}.{channel}": f"{v:.4f}" for channel, v in zip("rgb", inner, strict=True)}
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
    if min(given.size) < 16 or given.seed < 0:
        parser.error("--size must be at least 16 each way and --seed not negative.")
    if bool(given.exact) != bool(given.ids) or (given.exact and given.layout != "sysu_mm01"):
        parser.error("--exact and --ids go together, with the layout sysu_mm01.")

    arguments: dict = {"layout": given.layout}
    if given.exact:
        arguments["exact"] = str(Path(given.exact).resolve())
    else:
        arguments |= {name: getattr(given, name) for name in ("train", "val", "test", "images")}
    try:
        if given.exact:
            plan = exact_plan(given.exact, given.ids)
        elif given.layout == "market1501":
            plan = market_plan(given.train, given.test, given.images, given.seed)
        else:
            plan = sysu_plan(given.train, given.val, given.test, given.images, given.seed)
        write(plan, given.out, seed=given.seed, size=tuple(given.size), arguments=arguments, workers=given.workers)
        if given.exact:
            shutil.copyfile(given.exact, Path(given.out) / "rand_perm_cam.mat")
    except (OSError, ValueError) as error:
        sys.exit(f"synthetic: {error}")
    except KeyboardInterrupt:
        sys.exit("synthetic: stopped; the same command goes on.")


if __name__ == "__main__":
    main()
