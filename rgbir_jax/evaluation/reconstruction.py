"""How well a trained generator gives back the images of people it has never seen."""

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
        l1: of G(a, s) with both codes of the image itself.
        mean_image: of the mean of the same images, which a generator beats only if it draws this person here.
    """

    l1: float
    mean_image: float


def reconstruction(
    stage: Stage, state: State, source: Source, rows: Int[np.ndarray, "n"], batch_size: int = 128
) -> Reconstruction:
    """Compares images with their reconstructions and with their mean.

    Args:
        stage: one that renders.
        state: the State to measure.
        source: the dataset.
        rows: the images, at least one.
        batch_size: images at a time.
    """
    batches = np.array_split(rows, -(-len(rows) // batch_size))
    mean = sum(np.asarray(augment.normalise(source.images(batch))).sum(axis=0, dtype=np.float64) for batch in batches)
    mean = jnp.asarray(mean / len(rows), jnp.float32)

    @jax.jit
    def errors(x: Float[jax.Array, "n h w 3"]):
        assert stage.render is not None
        return l1(x, stage.render(state, x, x)), l1(x, jnp.broadcast_to(mean, x.shape))

    found = [
        np.multiply(errors(augment.normalise(source.images(batch))), len(batch))
        for batch in tqdm(batches, desc="reconstruction", unit="batch", leave=False)
    ]
    return Reconstruction(*map(float, np.sum(found, axis=0) / len(rows)))
