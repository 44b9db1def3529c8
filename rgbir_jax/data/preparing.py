"""Preparing a dataset: its images are decoded once, and a start that was stopped is resumed by the next one."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from rgbir_jax.data.source import PREPARED_ELSEWHERE
from rgbir_jax.errors import UserError
from rgbir_jax.files import not_written

# Number of images that are finished together. A preparation that is killed loses less than two such blocks.
BLOCK = 4096


def with_progress(images: Iterable, name: str, done: int, total: int) -> Iterator:
    """Passes images on and shows how many of them are done.

    Args:
        images: those that are still to be decoded.
        name: the dataset's name.
        done: the number of images that an earlier start has decoded.
        total: the number of all images.
    """
    if 0 < done < total:
        print(f"{done:,} of {total:,} images of {name} are prepared; the others follow.", flush=True)
    return iter(tqdm(images, f"decoding {name}", total, initial=done, unit="image", delay=2))


def check_room(path: Path, images: int, image_size: tuple[int, int]) -> None:
    """Refuses to decode images for which the disk has no room: it would be full only after minutes or hours.

    Args:
        path: what is prepared. Its folder exists.
        images: the number of images that are still to be decoded.
        image_size: their (height, width) in pixels.

    Raises:
        UserError: if they need more than is free.
    """
    height, width = image_size
    needed, free = images * height * width * 3, shutil.disk_usage(path.parent).free
    if needed > free:
        reason = f"{images:,} images of {height}x{width} need {_gigabytes(needed)}, and {_gigabytes(free)} are free"
        raise not_written(path, RuntimeError(reason), PREPARED_ELSEWHERE)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"


def damaged(path: Path, reason: object) -> UserError:
    """Returns the UserError for a prepared file that cannot be read."""
    [line, *_] = str(reason).splitlines() or ["it is cut short"]
    return UserError(
        f"{path} is damaged ({line.partition(' (')[0][:200]}); remove it, and the next start prepares it again."
    )
