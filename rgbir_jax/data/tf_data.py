"""tf.data: the sampler's rows in, uint8 images out.

TFDS reads the images of a batch by index. Reading and decoding batches runs in parallel and in order, ahead of the
step that needs them, so memory holds a few batches and never the dataset.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # warnings and errors; read when TensorFlow is imported

import tensorflow as tf

from rgbir_jax.data.source import Rows
from rgbir_jax.data.tfds_prepared import PreparedImages
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.errors import UserError

tf.config.set_visible_devices([], "GPU")  # JAX uses the accelerator


class TfDataSource:
    """`data.source.Source` over a dataset prepared for TFDS."""

    field = "image"

    def __init__(self, dataset: Dataset, root: Path, records: Records, image_size: tuple[int, int], prepared: Path):
        """Opens the prepared images. If this tree was never opened at this size, prepares them first.

        Args:
            dataset: the dataset; its builder prepares the images.
            root: the folder of the tree.
            records: the table of the tree.
            image_size: (height, width) in pixels.
            prepared: the folder for the prepared sets of this tree.

        Raises:
            UserError: naming an image that cannot be decoded or a file that cannot be written, and nothing is kept
                then; or naming a prepared file that is damaged.
        """
        self.records = records
        self.image_size = image_size
        self._stored = PreparedImages(dataset, root, records, image_size, prepared)
        self._decode = tf.function(self._decode_examples, input_signature=[tf.TensorSpec((None,), tf.string)])

    def read(self, rows: Int[np.ndarray, "*rows"]) -> UInt8[np.ndarray, "*rows height width 3"]:
        """Returns the images of some rows of the records, RGB.

        Raises:
            UserError: naming a prepared file that is damaged.
        """
        images = self._decode(self._stored.read(rows.ravel())).numpy()
        return images.reshape(*rows.shape, *images.shape[1:])

    def stream(self, rows: Callable[[int], Rows], start: int) -> Iterator[UInt8[np.ndarray, "_ _ _ height width 3"]]:
        """Yields the images of `rows(start)` and of every later batch, without end.

        Raises:
            UserError: naming a prepared file that is damaged.
        """

        def stored(step: np.integer) -> np.ndarray:
            try:
                return self._stored.read(rows(int(step)).ravel())
            except UserError:  # tf.data would print a traceback; `read` below raises it again
                return np.empty(0, object)

        def decoded(step: tf.Tensor) -> tf.Tensor:
            examples = tf.numpy_function(stored, [step], tf.string)
            return self._decode(tf.ensure_shape(examples, (None,)))

        steps = tf.data.Dataset.counter(start)
        batches = steps.map(decoded, tf.data.AUTOTUNE, deterministic=True).prefetch(2)
        for step, images in zip(itertools.count(start), batches.as_numpy_iterator(), strict=False):
            chosen = rows(step)
            yield images.reshape(*chosen.shape, *images.shape[1:]) if len(images) else self.read(chosen)

    def _decode_examples(self, examples: tf.Tensor) -> tf.Tensor:
        pixels = tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature((), tf.string)})["image"]
        return tf.reshape(tf.io.decode_raw(pixels, tf.uint8), (tf.size(examples), *self.image_size, 3))
