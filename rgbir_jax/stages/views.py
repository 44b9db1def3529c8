"""Augmented views of a batch on the device, with the label of each image."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8
from ml_collections import ConfigDict

from rgbir_jax.data import augment
from rgbir_jax.training import parallel


class Views(NamedTuple):
    """A batch [identity, modality, shot] of one device, normalised.

    Attributes:
        clean: flipped and cropped; they are encoded and reconstructed.
        erased: the same with random rectangles erased, for an identity loss. `clean` itself if nothing is erased.
        label: the identity of each image.
    """

    clean: Float[Array, "identity modality shot height width channels"]
    erased: Float[Array, "identity modality shot height width channels"]
    label: Int[Array, "identity modality shot"]


def views(
    key: Array,
    image: UInt8[Array, "identity modality shot height width 3"],
    label: Int[Array, "identity"],
    config: ConfigDict,
    seen: Callable[[Array, Array], Array] | None = None,
) -> Views:
    """Augments each image with a key of its own, by its place in the global batch.

    Args:
        key: the key of this iteration, the same on every device.
        image: the images of this device's identities.
        label: their labels.
        config: `pad` (pixels), `erase` (see `erased`).
        seen: (normalised images [n, height, width, 3], modality [n]) -> what the network sees of them, in which
            rectangles are erased; None for the images themselves.
    """
    flat = image.reshape(-1, *image.shape[3:])
    keys = augment.image_keys(key, parallel.first_position(len(flat)), len(flat))
    keys = jax.vmap(jax.random.split)(keys)
    clean = augment.normalise(augment.flip_and_crop(keys[:, 0], flat, config.pad))
    if seen:
        clean = seen(clean, flatten(jnp.broadcast_to(jnp.arange(image.shape[1])[:, None], image.shape[:3])))
    return Views(
        clean.reshape(*image.shape[:-1], -1),
        erased(keys[:, 1], clean, config.erase).reshape(*image.shape[:-1], -1),
        jnp.broadcast_to(label[:, None, None], image.shape[:3]),
    )


def erased(
    keys: Key[Array, "n"], image: Float[Array, "n height width channels"], config: ConfigDict
) -> Float[Array, "n height width channels"]:
    """Erases random rectangles of normalised images.

    Args:
        keys: one key per image.
        image: the images.
        config: `probability`, `area` and `aspect` ranges, and `fill`, the colour as normalised values; without it, the
            mean colour.
    """
    if not config.probability:
        return image
    fill = tuple(config.get("fill", (0.0,)))
    return augment.erase(keys, image, config.probability, tuple(config.area), tuple(config.aspect), fill)


def flatten(x: Array) -> Array:
    """Joins the first three axes: [identity, modality, shot, ...] -> [identity · modality · shot, ...]."""
    return x.reshape(-1, *x.shape[3:])
