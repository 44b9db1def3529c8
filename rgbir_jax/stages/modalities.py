"""Networks of which each modality has one: which images are infrared, and what each network computes of its own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from rgbir_jax.data.augment import MEAN, STD
from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.training.stage import Images

LEVEL = 1 / 255  # of uint8 images in 0..1


def guessed_modality(images: Images) -> Int[Array, "n"]:
    """Returns 1 (IR) for images whose channels differ by less than one level on average, and 0 (RGB) for others."""
    tones = images * STD + MEAN
    spread = jnp.max(tones, axis=-1) - jnp.min(tones, axis=-1)
    return (jnp.mean(spread, axis=(1, 2)) < LEVEL).astype(jnp.int32)


def by_modality(compute: Callable[[str], PyTree], modality: Int[Array, "n"]) -> PyTree:
    """Computes something of each image with the networks of its modality, if any image is of it.

    Args:
        compute: "rgb" or "ir" -> arrays whose leading axis is all images, computed by this modality's networks.
        modality: 0 RGB, 1 IR.
    """

    def of(number: int) -> PyTree:
        def run():
            return compute(MODALITIES[number])

        blank = jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), jax.eval_shape(run))
        return jax.lax.cond(jnp.any(modality == number), run, lambda: blank)

    def chosen(rgb: Array, ir: Array) -> Array:
        return jnp.where(modality.reshape(-1, *[1] * (rgb.ndim - 1)) == 0, rgb, ir)

    return jax.tree.map(chosen, of(0), of(1))
