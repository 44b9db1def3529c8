"""The choice between sources by config. All of them give the same images, bit for bit."""

import hashlib
import os
from pathlib import Path
from typing import Protocol, runtime_checkable

from ml_collections import ConfigDict

from rgbir_jax.data.source import PREPARED_ELSEWHERE, Source
from rgbir_jax.datasets import find_dataset
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.errors import UserError
from rgbir_jax.files import writing
from rgbir_jax.lookup import choose, expanded


@runtime_checkable
class ImageSource(Source, Protocol):
    """A source of images.

    Attributes:
        image_size: (height, width) in pixels.
    """

    @property
    def image_size(self) -> tuple[int, int]:
        """The size of all images."""
        ...


def open_source(config: ConfigDict, records: Records | None = None) -> ImageSource:
    """Opens the source that a config names. The first opening of a dataset prepares it, which can take minutes.

    Args:
        config: `dataset` (its name), `data_dir` (its tree), `prepared_dir` (where decoded images are kept; empty: next
            to `data_dir`), `image_size` (height, width), `source` ("tf_data" or "memory"), and the
            `options` of the dataset.
        records: the tree's table, if it has been read before.

    Raises:
        UserError: for an unknown name, a broken tree, an image that cannot be decoded, a folder that cannot be written,
            or "tf_data" without TensorFlow.
    """
    dataset = find_dataset(config.dataset)
    choose(config.source, SOURCES, "config.source (eval.py: --source)")
    image_size = check_image_size(config.image_size)
    root = expanded(config.data_dir)
    records = dataset.read_with(root, config) if records is None else records
    prepared = prepared_folder(config.prepared_dir, root, records)
    return SOURCES[config.source](dataset, root, records, image_size, prepared)


def check_image_size(image_size: object) -> tuple:
    """Returns the value of `config.image_size` as a tuple if it is (height, width).

    Raises:
        UserError: if it is not.
    """
    if not isinstance(image_size, tuple | list) or len(image_size) != 2:
        raise UserError(f"config.image_size {image_size} is not (height, width) in pixels; (256, 128) is usual.")
    return tuple(image_size)


def fingerprint(root: str | os.PathLike, records: Records) -> str:
    """Returns twelve hexadecimal digits that change if an image of the tree is added, removed or rewritten."""
    digest = hashlib.sha256()
    for path in records.path:
        status = os.stat(Path(root) / path)
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def prepared_folder(prepared_dir: str, root: Path, records: Records) -> Path:
    """Makes the folder for the decoded images of this tree as it is now; trees do not share a folder."""
    folder = expanded(prepared_dir) if prepared_dir else Path(f"{root.resolve()}.prepared")
    prepared = folder / fingerprint(root, records)
    with writing(prepared, PREPARED_ELSEWHERE):
        prepared.mkdir(parents=True, exist_ok=True)
    return prepared


def _tf_data(dataset: Dataset, root: Path, records: Records, image_size: tuple[int, int], prepared: Path):
    try:
        from rgbir_jax.data.tf_data import TfDataSource
    except ImportError as error:
        raise UserError(
            f"config.source \"tf_data\" needs TensorFlow ({error}); pip install 'rgbir-jax[data]', "
            f"or set --config.source=memory (eval.py: --source=memory)."
        ) from error
    return TfDataSource(dataset, root, records, image_size, prepared)


def _memory(dataset: Dataset, root: Path, records: Records, image_size: tuple[int, int], prepared: Path):
    from rgbir_jax.data.memory import MemorySource

    return MemorySource(dataset, root, records, image_size, prepared)


SOURCES = {"tf_data": _tf_data, "memory": _memory}
