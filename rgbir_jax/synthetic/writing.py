"""Draws a plan into a folder. A stopped run can be resumed, and its result is the same byte for byte."""

import io
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from rgbir_jax.datasets.records import DRAWN
from rgbir_jax.errors import UserError
from rgbir_jax.synthetic.factors import factors_table
from rgbir_jax.synthetic.picture import draw
from rgbir_jax.synthetic.plan import Plan
from rgbir_jax.synthetic.shot import Shot, identity_of, pose_of

VERSION = 2  # of the drawing; increase it when the same arguments give other pictures
MANIFEST = "drawn.json"  # the arguments that a dataset was drawn with
FACTORS = "factors.csv"  # what every picture shows
_UNFINISHED = ".unfinished"  # folder in the dataset's root during a run
_JPEG_QUALITY = 92


def write(plan: Plan, root: str | Path, *, seed: int, size: tuple[int, int], arguments: dict, workers: int = 0) -> None:
    """Writes a dataset. Pictures that already exist are not drawn again.

    Args:
        plan: the dataset's plan.
        root: the dataset's folder.
        seed: the seed of identities and poses, not negative.
        size: the height and width of the pictures in pixels.
        arguments: the arguments of the plan. A folder that was drawn with other arguments is refused.
        workers: the number of processes; 0 means one per core.

    Raises:
        UserError: if `root` holds another dataset or other files.
    """
    root = Path(root)
    _claim(root, {"version": VERSION, "seed": seed, "size": list(size)} | arguments)
    for folder in {*plan.folders, *(os.path.dirname(shot.path) for shot in plan.shots)}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    missing = [shot for shot in plan.shots if not (root / shot.path).is_file()]
    drawings = _run(partial(_write_picture, root=root, seed=seed, size=size), missing, workers or os.cpu_count() or 1)
    for _ in tqdm(drawings, str(root), len(plan.shots), initial=len(plan.shots) - len(missing), unit="image"):
        pass
    for path, content in plan.files.items():
        _write_file(root, path, content)
    _write_file(root, FACTORS, factors_table(plan.shots, seed))
    shutil.rmtree(root / _UNFINISHED, ignore_errors=True)


def drawn_with(root: str | Path) -> dict:
    """Returns what a dataset was drawn with: version, seed, size and the arguments of its plan.

    It is empty if this program did not draw the dataset, or if the file that says so is damaged.
    """
    try:
        return dict(json.loads((Path(root) / MANIFEST).read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def encode(picture: Image.Image, path: str) -> bytes:
    """Returns the content of a picture's file, marked as drawn: a BMP if the path ends with .bmp, otherwise a JPEG."""
    file = io.BytesIO()
    if not path.endswith(".bmp"):
        picture.save(file, "JPEG", quality=_JPEG_QUALITY, comment=DRAWN)
        return file.getvalue()
    picture.save(file, "BMP")
    content = file.getvalue() + DRAWN
    return content[:2] + len(content).to_bytes(4, "little") + content[6:]  # the header has the file's size


def _run(task: Callable[[Shot], None], shots: list[Shot], workers: int) -> Iterator[None]:
    """Runs the task for every shot in the given number of processes."""
    if workers == 1 or not shots:
        yield from map(task, shots)
        return
    # Ctrl-C reaches every process of a terminal. Only the main process handles it.
    with multiprocessing.get_context("spawn").Pool(workers, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield from pool.imap_unordered(task, shots, chunksize=32)


def _write_picture(shot: Shot, root: Path, seed: int, size: tuple[int, int]) -> None:
    pose, grain = pose_of(shot, seed)
    picture = Image.fromarray(draw(identity_of(shot.person, seed), pose, shot.camera, grain, size))
    if shot.is_junk:
        picture = picture.crop((0, 0, picture.width, 2 * picture.height // 3)).resize(picture.size)
    _write_file(root, shot.path, encode(picture, shot.path))


def _claim(root: Path, arguments: dict) -> None:
    """Records the arguments in the folder.

    Raises:
        UserError: if the folder was drawn with other arguments, or holds files that this program did not write.
    """
    manifest = root / MANIFEST
    if manifest.is_file():
        try:
            previous = json.loads(manifest.read_text())
        except ValueError as error:
            raise UserError(f"{manifest} is damaged ({error}); remove {root} and draw it again.") from error
        names = sorted(name for name in previous.keys() | arguments if previous.get(name) != arguments.get(name))
        if names:
            raise UserError(
                f"{root} holds a dataset drawn with other arguments ({', '.join(names)}); "
                f"choose another --out or remove the folder."
            )
    elif root.is_dir() and set(os.listdir(root)) - {_UNFINISHED}:
        raise UserError(f"{root} is not empty and was not drawn by this program; choose another --out.")
    (root / _UNFINISHED).mkdir(parents=True, exist_ok=True)
    _write_file(root, MANIFEST, (json.dumps(arguments, indent=1) + "\n").encode())


def _write_file(root: Path, path: str, content: bytes) -> None:
    """Writes a file atomically, so that a killed run leaves no partial file."""
    temporary = root / _UNFINISHED / str(os.getpid())
    temporary.write_bytes(content)
    os.replace(temporary, root / path)
