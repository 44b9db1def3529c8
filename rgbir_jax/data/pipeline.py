"""tf.data: the sampler's rows in, uint8 batches out.

The dataset is prepared once by its TFDS builder. Then its stored images are read into memory; a batch is a
gather and a decoding, in parallel and in order, ahead of the step that wants it.
"""

import contextlib
import io
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging
from jaxtyping import Int, UInt8

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # warnings and errors; read at TensorFlow's import

import tensorflow as tf
import tensorflow_datasets as tfds

import rgbir_jax.data.datasets  # registers the builders
from rgbir_jax.data.layouts import Records
from rgbir_jax.data.sampling import IdentitySampler, process_share
from rgbir_jax.data.source import Batch, batch

tf.config.set_visible_devices([], "GPU")  # the accelerator is JAX's


class PreparedSource:
    """`data.source.Source` over a dataset prepared by TFDS."""

    def __init__(self, dataset: str, root: Path, records: Records, image_size: tuple[int, int], prepared: Path):
        """Reads the prepared images, after preparing them if this tree was never opened at this size.

        Args:
            dataset: name of the builder.
            root: of the tree.
            records: its table.
            image_size: (height, width) in pixels.
            prepared: folder of this tree's prepared sets.

        Raises:
            ValueError: naming an image that cannot be decoded; nothing of the set is kept then.
        """
        self.records = records
        self.image_size = image_size
        with _quietly():
            builder = tfds.builder(
                dataset, config=rgbir_jax.data.datasets.resized(image_size), data_dir=prepared, try_gcs=False
            )
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(manual_dir=root, try_download_gcs=False)
            )
            examples = builder.as_dataset(
                split="all",  # pyright: ignore[reportCallIssue] (TFDS wraps the method)
                decoders={"image": tfds.decode.SkipDecoding()},
            )
        examples = examples.batch(len(records)).get_single_element()
        self._stored = examples["image"]
        # TFDS keeps examples in an order of its own.
        rows = np.searchsorted(records.path, examples["path"].numpy().astype(str))
        self._place = np.argsort(rows)
        self._decode_all = tf.function(
            lambda places: tf.map_fn(self._decode, places, fn_output_signature=tf.uint8),
            input_signature=[tf.TensorSpec((None,), tf.int64)],
        )

    def images(self, rows: Int[np.ndarray, "n"]) -> UInt8[np.ndarray, "n height width 3"]:
        """The images of some rows of the records, RGB."""
        return self._decode_all(self._place[rows]).numpy()

    def batches(
        self, sampler: IdentitySampler, start: int = 0, process_index: int = 0, process_count: int = 1
    ) -> Iterator[Batch]:
        """Yields this process's share of batch `start` and of every one after it, without end."""

        def share(step: int) -> np.ndarray:
            return process_share(sampler(step), process_index, process_count)

        shape = share(start).shape  # also raises here what TensorFlow would wrap in a sentence of its own
        size = int(np.prod(shape))

        def places(step: tf.Tensor) -> tf.Tensor:
            chosen = tf.numpy_function(lambda number: self._place[share(int(number))].ravel(), [step], tf.int64)
            return tf.ensure_shape(chosen, (size,))

        images = (
            tf.data.Dataset.counter(start)
            .map(places)
            .unbatch()
            .map(self._decode, tf.data.AUTOTUNE, deterministic=True)
            .batch(size, drop_remainder=True)
            .prefetch(2)
        )
        for step, image in zip(itertools.count(start), images.as_numpy_iterator(), strict=False):
            yield batch(sampler, self.records, share(step), image=image.reshape(*shape, *image.shape[1:]))

    def _decode(self, place: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_bmp(tf.gather(self._stored, place), channels=3)
        return tf.ensure_shape(image, (*self.image_size, 3))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keeps TFDS's progress bars and drops what it says beside them, of downloads that never are."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
