"""A dataset in memory: one uint8 array, decoded once and then mapped from a file. No TensorFlow.

SYSU-MM01's 34,167 training images take 3.4 GB at 256x128; only what is used is read from the file. The system keeps in
memory what it has read, while nobody else needs the room. Nothing notices a bit that flips in the file.
"""

import io
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from rgbir_jax.data.decoding import decode, in_threads
from rgbir_jax.data.preparing import BLOCK, check_room, damaged, with_progress
from rgbir_jax.data.source import PREPARED_ELSEWHERE, Rows
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.files import locked, rename_whole, writing


class MemorySource:
    """`data.source.Source` over an array [image, height, width, 3]; a batch is a gather."""

    field = "image"

    def __init__(self, dataset: Dataset, root: Path, records: Records, image_size: tuple[int, int], prepared: Path):
        """Maps the decoded images. If this tree was never opened at this size, decodes them first.

        Args:
            dataset: the dataset, for the progress bar.
            root: the folder of the tree.
            records: the table of the tree.
            image_size: (height, width) in pixels.
            prepared: the folder for the decoded images of this tree.

        Raises:
            UserError: naming an image that cannot be decoded or a file that cannot be written, and nothing is kept
                then; or naming a prepared file that is damaged.
        """
        self.records = records
        self.image_size = image_size
        path = prepared / "{}x{}.npy".format(*image_size)
        if not path.is_file():
            with locked(prepared, "prepared", wait=True):
                if not path.is_file():  # another process may have written it
                    _decode_to(path, dataset.name, root, records, image_size)
        self._images = _mapped(path, (len(records), *image_size, 3))

    def read(self, rows: Int[np.ndarray, "*rows"]) -> UInt8[np.ndarray, "*rows height width 3"]:
        """Returns the images of some rows of the records, RGB."""
        return self._images[rows]

    def stream(self, rows: Callable[[int], Rows], start: int) -> Iterator[UInt8[np.ndarray, "_ _ _ height width 3"]]:
        """Yields the images of `rows(start)` and of every later batch, without end."""
        return (self.read(rows(step)) for step in itertools.count(start))


def _mapped(path: Path, shape: tuple[int, ...]) -> UInt8[np.ndarray, "images height width 3"]:
    try:
        images = np.load(path, mmap_mode="r").view(np.ndarray)
    except (ValueError, EOFError) as error:
        raise damaged(path, error) from error
    if (images.shape, images.dtype) != (shape, np.uint8):
        raise damaged(path, "it does not have the images of this tree at this size")
    return images


def _decode_to(path: Path, name: str, root: Path, records: Records, image_size: tuple[int, int]) -> None:
    """Writes under another name and renames at the end, so that a file with the right name is always complete."""
    unfinished = path.with_suffix(".unfinished")
    header = io.BytesIO()
    shape = (len(records), *image_size, 3)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    try:
        with writing(path, PREPARED_ELSEWHERE), unfinished.open("ab") as file:
            done = _resumed(file, header.getvalue(), int(np.prod(shape[1:])))
            check_room(path, len(records) - done, image_size)
            files = [root / path for path in records.path[done:]]
            decoded = in_threads(partial(decode, image_size=image_size), files)
            for number, image in enumerate(with_progress(decoded, name, done, len(records)), done):
                if number % BLOCK == 0:
                    file.flush()
                    os.fsync(file.fileno())
                file.write(image.tobytes())
        with writing(path, PREPARED_ELSEWHERE):
            rename_whole(unfinished, path)
    except Exception:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def _resumed(file: io.BufferedWriter, header: bytes, image_bytes: int) -> int:
    """Cuts a file that a killed process has left after its last whole block, and returns the number of its images.

    A block is on the disk if anything follows it. An empty file gets its header.
    """
    images = (file.tell() - len(header) - 1) // image_bytes
    done = max(images, 0) // BLOCK * BLOCK
    file.truncate(len(header) + done * image_bytes if done else 0)
    if not done:
        file.write(header)
    return done
