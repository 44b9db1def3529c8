"""Preparing a dataset: its images are decoded once, and a start that was stopped is resumed by the next one."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from rgbir_jax.errors import UserError

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


def damaged(path: Path, reason: object) -> UserError:
    """Returns the UserError for a prepared file that cannot be read."""
    [line, *_] = str(reason).splitlines() or ["it is cut short"]
    return UserError(
        f"{path} is damaged ({line.partition(' (')[0][:200]}); remove it, and the next start prepares it again."
    )
