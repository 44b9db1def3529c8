"""What every source of images promises, and the choice between them by config.

Both sources decode through `decoding.decode` and draw through the same sampler: their batches are equal, bit
for bit.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8
from ml_collections import ConfigDict

from rgbir_jax.data.layouts import LAYOUTS, Records
from rgbir_jax.data.sampling import IdentitySampler

# A training batch on the host; modality and shot in the order that the sampler was asked for:
#   image   uint8 [identity, modality, shot, height, width, 3], RGB
#   label   int32 [identity]
#   camera  int32 [identity, modality, shot]
Batch = dict[str, np.ndarray]


@runtime_checkable
class Source(Protocol):
    """A dataset's table and its images, decoded and resized.

    Attributes:
        records: every image of the dataset, all splits.
        image_size: (height, width) in pixels.
    """

    records: Records
    image_size: tuple[int, int]

    def images(self, rows: Int[np.ndarray, "n"]) -> UInt8[np.ndarray, "n height width 3"]:
        """The images of some rows of the records, RGB."""
        ...

    def batches(
        self, sampler: IdentitySampler, start: int = 0, process_index: int = 0, process_count: int = 1
    ) -> Iterator[Batch]:
        """Yields this process's share of batch `start` and of every one after it, without end.

        Raises:
            ValueError: where the processes do not divide the identities.
        """
        ...


def open_source(config: ConfigDict) -> Source:
    """The source that a config names; the first opening of a dataset prepares it, which can take minutes.

    Args:
        config: `dataset` ("sysu_mm01" or "market1501"), `data_dir` (its tree), `prepared_dir` (where decoded
            images are kept; empty: beside `data_dir`), `image_size` (height, width), `source` ("tfds" or
            "memory").

    Raises:
        ValueError: for an unknown name, a tree that contradicts itself or an image that cannot be decoded.
        OSError: for a tree that is not whole or a folder that cannot be written.
        ImportError: for "tfds" without TensorFlow.
    """
    if config.dataset not in LAYOUTS:
        raise ValueError(f'config.dataset "{config.dataset}" is unknown; choose {_either(LAYOUTS)}.')
    if config.source not in _SOURCES:
        raise ValueError(f'config.source "{config.source}" is unknown; choose {_either(_SOURCES)}.')
    image_size = tuple(config.image_size)
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"config.image_size {image_size} is not (height, width) in pixels; (256, 128) is usual.")
    root = Path(config.data_dir)
    records = LAYOUTS[config.dataset](root)
    return _SOURCES[config.source](
        config.dataset, root, records, image_size, _prepared(config.prepared_dir, root, records)
    )


def batch(sampler: IdentitySampler, records: Records, rows: np.ndarray, **inputs: np.ndarray) -> Batch:
    """A batch of `rows` [identity, modality, shot] with their labels and cameras beside their inputs by name."""
    return inputs | {
        "label": sampler.label[rows[:, 0, 0]],
        "camera": records.camera[rows],
    }


def fingerprint(root: str | os.PathLike, records: Records) -> str:
    """Twelve hexadecimal digits that change when an image of the tree comes, goes or is written anew."""
    digest = hashlib.sha256()
    for path in records.path:
        status = os.stat(Path(root) / path)
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def _prepared(prepared_dir: str, root: Path, records: Records) -> Path:
    """Where the images of this tree, as it is now, are kept decoded; trees do not share a folder."""
    folder = Path(prepared_dir) if prepared_dir else Path(f"{root.resolve()}.prepared")
    prepared = folder / fingerprint(root, records)
    try:
        prepared.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"{prepared} cannot be made ({error.strerror}); "
            f"set --config.prepared_dir to a folder that you may write to."
        ) from error
    return prepared


def _tfds(*args) -> Source:
    try:
        from rgbir_jax.data.pipeline import PreparedSource
    except ImportError as error:
        raise ImportError(
            f"config.source \"tfds\" needs TensorFlow ({error}); pip install 'rgbir-jax[data]', "
            f'or set config.source = "memory".'
        ) from error
    return PreparedSource(*args)


def _memory(*args) -> Source:
    from rgbir_jax.data.resident import ResidentSource

    return ResidentSource(*args)


_SOURCES = {"tfds": _tfds, "memory": _memory}


def _either(names) -> str:
    return " or ".join(f'"{name}"' for name in names)
