"""A dataset held in memory: one uint8 array, decoded once and mapped from a file ever after. No TensorFlow.

SYSU-MM01's 34,167 training images take 3.4 GB at 256x128; only what is used is read from the file.
"""

import itertools
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from tqdm import tqdm

from rgbir_jax.data.decoding import decode, in_threads
from rgbir_jax.data.layouts import Records
from rgbir_jax.data.sampling import IdentitySampler, process_share
from rgbir_jax.data.source import Batch, batch


class ResidentSource:
    """`data.source.Source` over an array [image, height, width, 3]; a batch is a gather."""

    def __init__(self, dataset: str, root: Path, records: Records, image_size: tuple[int, int], prepared: Path):
        """Maps the decoded images, after decoding them if this tree was never opened at this size.

        Args:
            dataset: its name, for the progress bar.
            root: of the tree.
            records: its table.
            image_size: (height, width) in pixels.
            prepared: folder of this tree's decoded images.

        Raises:
            ValueError: naming an image that cannot be decoded; nothing of the set is kept then.
        """
        self.records = records
        self.image_size = image_size
        path = prepared / "{}x{}.npy".format(*image_size)
        if not path.is_file():
            _decode_to(path, dataset, root, records, image_size)
        self._images = np.load(path, mmap_mode="r").view(np.ndarray)

    def images(self, rows: Int[np.ndarray, "*rows"]) -> UInt8[np.ndarray, "*rows height width 3"]:
        """The images of some rows of the records, RGB."""
        return self._images[rows]

    def batches(
        self, sampler: IdentitySampler, start: int = 0, process_index: int = 0, process_count: int = 1
    ) -> Iterator[Batch]:
        """Yields this process's share of batch `start` and of every one after it, without end."""
        for step in itertools.count(start):
            rows = process_share(sampler(step), process_index, process_count)
            yield batch(sampler, self.records, rows, image=self.images(rows))


def _decode_to(path: Path, dataset: str, root: Path, records: Records, image_size: tuple[int, int]) -> None:
    """Writes under another name and renames at the end: a file by the right name is always whole."""
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(records), *image_size, 3)}
            np.lib.format.write_array_header_1_0(file, header)
            files = [root / name for name in records.path]
            decoded = in_threads(partial(decode, image_size=image_size), files)
            for image in tqdm(decoded, f"decoding {dataset}", len(files), unit="image", delay=2):
                file.write(image.tobytes())
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
