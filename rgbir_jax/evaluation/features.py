"""Retrieval features of many images: image and mirror image, on every device, in batches of one size."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from tqdm import tqdm

from rgbir_jax.data import augment
from rgbir_jax.data.source import Source
from rgbir_jax.training import parallel


def extractor(features: Callable[[PyTree, Array], Array], batch_size: int = 128) -> Callable:
    """Compiles a stage's `features` once, for any number of images.

    Args:
        features: (state, normalised images [n, h, w, 3]) -> [n, dim].
        batch_size: images at a time over all devices; the last batch is padded to it.

    Returns:
        (state, source, rows) -> unit vectors float32 [len(rows), dim]: f(x) + f(mirrored x), divided by its length
        (rulings of the field: an image and its mirror image are the same person).
    """

    def mirrored_and_summed(state, images):
        x = augment.normalise(images)
        both = features(state, jnp.concatenate([x, x[:, :, ::-1]]))
        summed = both[: len(x)] + both[len(x) :]
        return summed / jnp.maximum(jnp.linalg.norm(summed, axis=1, keepdims=True), 1e-12)

    compiled = parallel.pmap_forward(mirrored_and_summed)

    def extract(
        state: PyTree, source: Source, rows: Int[np.ndarray, "n"] | Sequence[int], progress: str = ""
    ) -> Float[np.ndarray, "n dim"]:
        rows = np.asarray(rows)
        state = parallel.replicate(state)
        size = parallel.round_up(min(batch_size, len(rows)))
        found = []
        for start in tqdm(range(0, len(rows), size), desc=progress, disable=not progress, unit="batch", leave=False):
            images = source.images(rows[start : start + size])
            padded = np.concatenate([images, np.zeros((size - len(images), *images.shape[1:]), np.uint8)])
            result = compiled(state, parallel.shard(padded))
            found.append(np.asarray(result).reshape(size, -1)[: len(images)])
        return np.concatenate(found)

    return extract
