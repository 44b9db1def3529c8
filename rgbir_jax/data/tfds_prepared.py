"""A tree's images as a dataset of TFDS, stored as ArrayRecord, which is read by index without loading the rest.

Its only split has the images in the order of the tree's table, so a row of the table is an index. The split is divided
into files of `preparing.BLOCK` images. They are written into a folder with another name, which gets its own when
everything is in it. A file that is missing there is written by the next start.

    import tensorflow_datasets as tfds

    tfds.builder_from_directory("data/SYSU-MM01.prepared/0123456789ab/sysu_mm01/256x128/3.0.0").as_data_source("images")
"""

import contextlib
import io
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Int, Shaped

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # warnings and errors; read when TensorFlow is imported

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from rgbir_jax.data.decoding import in_threads
from rgbir_jax.data.preparing import BLOCK, check_room, damaged, with_progress
from rgbir_jax.data.source import PREPARED_ELSEWHERE
from rgbir_jax.data.tfds_builders import TreeBuilder, builder_class, resized
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.files import locked, not_written, rename_whole, writing

SPLIT = "images"
METADATA = ("dataset_info.json", "features.json")
# One image per chunk, so that reading one does not read others. They are not compressed: on drawn people that would
# save a quarter of the disk and cost almost half of the speed.
STORAGE = "group_size:1,uncompressed"


class PreparedImages:
    """The stored images of a tree at one size, read by row."""

    def __init__(self, dataset: Dataset, root: Path, records: Records, image_size: tuple[int, int], prepared: Path):
        """Opens the prepared images, and prepares what is missing. Arguments and errors are those of `TfDataSource`."""
        folder = prepared / dataset.name / resized(image_size).name / str(TreeBuilder.VERSION)
        self._files = _files(folder, dataset.name, len(records))
        if _missing(folder, self._files):
            with locked(prepared, "prepared", wait=True):
                if _missing(folder, self._files):  # another process may have written them
                    _prepare(folder, self._files, dataset, root, records, image_size)
        self._stored = _open(folder, self._files)

    def read(self, rows: Int[np.ndarray, "n"]) -> Shaped[np.ndarray, "n"]:
        """Returns the stored examples of some rows: `tf.train.Example`, serialised.

        Raises:
            UserError: naming a damaged file.
        """
        examples = np.empty(len(rows), object)
        for place, row in enumerate(rows):
            try:
                examples[place] = self._stored[row]
            except RuntimeError as error:  # of ArrayRecord, which checks what it reads
                raise damaged(list(self._files)[row // BLOCK], error) from error
        return examples


def _files(folder: Path, name: str, images: int) -> dict[Path, range]:
    """Returns the rows of each file of a prepared set, named as TFDS does."""
    blocks = [range(first, min(first + BLOCK, images)) for first in range(0, images, BLOCK)]
    return {
        folder / f"{name}-{SPLIT}.array_record-{number:05}-of-{len(blocks):05}": rows
        for number, rows in enumerate(blocks)
    }


def _missing(folder: Path, files: Iterable[Path]) -> list[Path]:
    return [path for path in (*files, *(folder / name for name in METADATA)) if not path.is_file()]


def _prepare(
    folder: Path, files: dict[Path, range], dataset: Dataset, root: Path, records: Records, image_size: tuple[int, int]
) -> None:
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    try:
        with writing(folder, PREPARED_ELSEWHERE):
            if folder.is_dir():
                first, *others = _missing(folder, files)
                print(f"{first} is missing (others: {len(others)}); what is missing is prepared again.", flush=True)
                folder.rename(unfinished)
            unfinished.mkdir(parents=True, exist_ok=True)
        for other in sorted(set(folder.parent.iterdir()) - {unfinished}):
            print(f"{other} was prepared by another version of this program and is not used; you can remove it.")
        with _quietly():
            builder = builder_class(dataset)(config=resized(image_size), data_dir=folder.parents[2])
        missing = {unfinished / path.name: rows for path, rows in files.items()}
        missing = {path: rows for path, rows in missing.items() if not path.is_file()}
        check_room(folder, sum(map(len, missing.values())), image_size)
        _write_images(missing, builder, root, records)
        with writing(folder, PREPARED_ELSEWHERE):
            _write_metadata(unfinished, [len(rows) for rows in files.values()], builder.info)
            unfinished.rename(folder)
    except Exception:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _write_images(missing: dict[Path, range], builder: TreeBuilder, root: Path, records: Records) -> None:
    """Decodes the images of the files that are missing, and writes these files."""
    rows = list(itertools.chain.from_iterable(missing.values()))
    stored = in_threads(partial(builder.serialised, root, records), rows)
    stored = with_progress(stored, builder.dataset.name, len(records) - len(rows), len(records))
    for path, rows in missing.items():
        _write_file(path, itertools.islice(stored, len(rows)))


def _write_file(path: Path, stored: Iterable[bytes]) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        writer = ArrayRecordWriter(str(unfinished), STORAGE)
        for example in stored:
            writer.write(example)
        writer.close()
    except RuntimeError as error:  # "write() failed: No space left on device; writing PATH; at byte 0"
        raise not_written(path, RuntimeError(str(error).partition(";")[0]), PREPARED_ELSEWHERE) from error
    with writing(path, PREPARED_ELSEWHERE):
        rename_whole(unfinished, path)


def _write_metadata(folder: Path, lengths: list[int], info: tfds.core.DatasetInfo) -> None:
    """Writes what TFDS must know to read the files of a folder."""
    size = sum(path.stat().st_size for path in folder.iterdir())
    with _quietly():
        tfds.folder_dataset.write_metadata(
            data_dir=folder,
            features=info.features,
            split_infos=[tfds.core.SplitInfo(name=SPLIT, shard_lengths=lengths, num_bytes=size)],
            version=str(info.version),
            check_data=False,
            description=info.description,
            homepage=info.homepage,
            citation=info.citation,
            supervised_keys=info.supervised_keys,
        )


def _open(
    folder: Path, files: dict[Path, range]
) -> Sequence[Any]:  # of bytes; a type check that reads one would meet damage
    """Opens the prepared set, if its files have the images that they should have."""
    for path, rows in files.items():
        try:
            images = ArrayRecordReader(str(path)).num_records()
        except RuntimeError as error:
            raise damaged(path, error) from error
        if images != len(rows):
            raise damaged(path, f"{images} images instead of {len(rows)}")
    for path in (folder / name for name in METADATA):
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            raise damaged(path, error) from error
    try:
        with _quietly():
            builder = tfds.builder_from_directory(folder)
        stored = builder.as_data_source(
            SPLIT,  # pyright: ignore[reportCallIssue] (TFDS wraps the method)
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
        )
    except Exception as error:  # TFDS and protobuf raise several kinds
        raise damaged(folder / METADATA[0], error) from error
    if builder.info.splits[SPLIT].shard_lengths != [len(rows) for rows in files.values()]:
        raise damaged(folder / METADATA[0], "its numbers of images are not those of the files")
    return stored


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Drops TFDS's messages about downloads, of which there are none."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
