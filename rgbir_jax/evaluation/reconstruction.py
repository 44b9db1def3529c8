"""How well a trained generator reconstructs images of people it has never seen."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from rgbir_jax.data import augment
from rgbir_jax.data.source import Source
from rgbir_jax.losses.reconstruction import l1
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State


class Reconstruction(NamedTuple):
    """L1 errors over the elements of normalised images.

    Attributes:
        l1: the error of G(a, s) with both codes of the image itself.
        mean_image: the error of the mean of the same images; a generator has a lower one only if it draws the person.
    """

    l1: float
    mean_image: float


def reconstruction(
    stage: Stage, state: State, source: Source, rows: Int[np.ndarray, "n"], batch_size: int = 128
) -> Reconstruction:
    """Compares images with their reconstructions and with their mean.

    Args:
        stage: a stage that renders.
        state: the State to measure.
        source: the dataset.
        rows: the rows of the images, at least one.
        batch_size: the number of images at a time.
    """
    batches = np.array_split(rows, -(-len(rows) // batch_size))
    mean = sum(np.asarray(augment.normalise(source.read(batch))).sum(axis=0, dtype=np.float64) for batch in batches)
    mean = jnp.asarray(mean / len(rows), jnp.float32)

    @jax.jit
    def errors(x: Float[jax.Array, "n h w 3"]):
        return l1(x, stage.render(state, x, x)), l1(x, jnp.broadcast_to(mean, x.shape))

    sums = [
        np.multiply(errors(augment.normalise(source.read(batch))), len(batch))
        for batch in tqdm(batches, desc="reconstruction", unit="batch", leave=False)
    ]
    return Reconstruction(*map(float, np.sum(sums, axis=0) / len(rows)))
