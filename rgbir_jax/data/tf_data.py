"""tf.data: the sampler's rows in, uint8 images out.

The TFDS builder of a dataset prepares it once. Its stored images are then read into memory. Gathering and decoding a
batch runs in parallel and in order, ahead of the step that needs it.
"""

import contextlib
import dataclasses
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from absl import logging
from jaxtyping import Int, UInt8

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # warnings and errors; read when TensorFlow is imported

import tensorflow as tf
import tensorflow_datasets as tfds

from rgbir_jax.data import tfds_builders
from rgbir_jax.data.source import PREPARED_ELSEWHERE, Rows
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.errors import UserError
from rgbir_jax.files import locked, not_written

tf.config.set_visible_devices([], "GPU")  # JAX uses the accelerator


class TfDataSource:
    """`data.source.Source` over a dataset prepared by TFDS."""

    field = "image"

    def __init__(self, dataset: Dataset, root: Path, records: Records, image_size: tuple[int, int], prepared: Path):
        """Reads the prepared images. If this tree was never opened at this size, prepares them first.

        Args:
            dataset: the dataset; its builder prepares the images.
            root: the folder of the tree.
            records: the table of the tree.
            image_size: (height, width) in pixels.
            prepared: the folder for the prepared sets of this tree.

        Raises:
            UserError: naming an image that cannot be decoded, or a file that cannot be written; nothing is kept then.
        """
        self.records = records
        self.image_size = image_size
        # The splits of these records, which another fold changes, are not used here.
        dataset = dataclasses.replace(dataset, read=lambda _: records, options=())
        with _quietly():
            builder = tfds_builders.builder_class(dataset)(config=tfds_builders.resized(image_size), data_dir=prepared)
            if not builder.is_prepared():
                _prepare(builder, root, prepared)
            examples = builder.as_dataset(
                split="all",  # pyright: ignore[reportCallIssue] (TFDS wraps the method)
                decoders={"image": tfds.decode.SkipDecoding()},
            )
        examples = examples.batch(len(records)).get_single_element()
        self._stored = examples["image"]
        # TFDS keeps examples in an order of its own.
        paths = np.array([path.decode() for path in examples["path"].numpy()])
        rows = np.searchsorted(records.path, paths)
        self._place = np.argsort(rows)
        self._decode_all = tf.function(
            lambda places: tf.map_fn(self._decode, places, fn_output_signature=tf.uint8),
            input_signature=[tf.TensorSpec((None,), tf.int64)],
        )

    def read(self, rows: Int[np.ndarray, "*rows"]) -> UInt8[np.ndarray, "*rows height width 3"]:
        """Returns the images of some rows of the records, RGB."""
        images = self._decode_all(self._place[rows].ravel()).numpy()
        return images.reshape(*rows.shape, *images.shape[1:])

    def stream(self, rows: Callable[[int], Rows], start: int) -> Iterator[UInt8[np.ndarray, "_ _ _ height width 3"]]:
        """Yields the images of `rows(start)` and of every later batch, without end."""
        shape = rows(start).shape
        size = int(np.prod(shape))

        def places(step: tf.Tensor) -> tf.Tensor:
            chosen = tf.numpy_function(lambda number: self._place[rows(int(number))].ravel(), [step], tf.int64)
            return tf.ensure_shape(chosen, (size,))

        images = (
            tf.data.Dataset.counter(start)
            .map(places)
            .unbatch()
            .map(self._decode, tf.data.AUTOTUNE, deterministic=True)
            .batch(size, drop_remainder=True)
            .prefetch(2)
        )
        return (image.reshape(*shape, *image.shape[1:]) for image in images.as_numpy_iterator())

    def _decode(self, place: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_bmp(tf.gather(self._stored, place), channels=3)
        return tf.ensure_shape(image, (*self.image_size, 3))


def _prepare(builder: tfds.core.DatasetBuilder, root: Path, prepared: Path) -> None:
    """Writes the prepared set; another process waits, and finds it."""
    config = tfds.download.DownloadConfig(manual_dir=root, try_download_gcs=False)
    with locked(prepared, "prepared", wait=True):
        try:
            builder.download_and_prepare(download_config=config)
        except UserError:
            raise
        except Exception as error:
            cause = error
            while cause and not isinstance(cause, OSError | tf.errors.OpError):  # TFDS wraps it
                cause = cause.__cause__
            if not isinstance(cause, Exception):
                raise
            raise not_written(prepared, cause, PREPARED_ELSEWHERE) from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keeps TFDS's progress bars and drops its messages about downloads, of which there are none."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
