"""Images as cmPIG's networks see and draw them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from rgbir_jax.data.augment import LUMA, MEAN, STD, denormalise


def small(x: Float[Array, "n height width 3"]) -> Float[Array, "n height/2 width/2 3"]:
    """Halves normalised images by averaging, and brings them to −1..1."""
    n, height, width, _ = x.shape
    halved = jnp.mean(x.reshape(n, height // 2, 2, width // 2, 2, 3), axis=(2, 4))
    return 2 * (halved * STD + MEAN) - 1


def large(x: Float[Array, "n height width 3"]) -> Float[Array, "n 2*height 2*width 3"]:
    """Doubles images in −1..1 by bilinear interpolation, and normalises them."""
    n, height, width, _ = x.shape
    doubled = jax.image.resize(x, (n, 2 * height, 2 * width, 3), "bilinear")
    return ((doubled + 1) / 2 - MEAN) / STD


def grey(x: Float[Array, "n height width 3"]) -> Float[Array, "n height width 3"]:
    """Replaces the channels of normalised images by their weighted sum, as the recogniser sees them."""
    return jnp.broadcast_to(jnp.sum(x * LUMA, axis=-1, keepdims=True), x.shape)


def shown(grid: Float[Array, "rows columns height width 3"]) -> UInt8[Array, "rows columns 2*height 2*width 3"]:
    """Converts drawn images to uint8 in the size of the recipe's."""
    return denormalise(jax.vmap(large)(grid))
