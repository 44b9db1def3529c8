"""Augmentation on the device: flip, crop, erase, normalise.

Every image has its own key, so the result does not depend on how a batch is split over devices.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Key, UInt8

# ImageNet's statistics per channel, in the range 0..1.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)

# Number of rectangles proposed per image; the first that fits is erased. With the usual ranges and 256x128 images one
# proposal in twenty does not fit, so it is very unlikely that all of them fail.
_PROPOSALS = 10


def normalise(image: UInt8[Array | np.ndarray, "*batch 3"]) -> Float32[Array, "*batch 3"]:
    """Converts uint8 images to float32, standardised with ImageNet's mean and standard deviation."""
    return (jnp.asarray(image, jnp.float32) / 255 - MEAN) / STD


def denormalise(image: Float[Array | np.ndarray, "*batch 3"]) -> UInt8[Array, "*batch 3"]:
    """Inverts `normalise` for display; values outside 0..255 are clipped."""
    return jnp.round(jnp.clip(image * STD + MEAN, 0, 1) * 255).astype(jnp.uint8)


def image_keys(key: Key[Array, ""], start: int | Array, count: int) -> Key[Array, "{count}"]:
    """Returns one key for each of `count` images whose positions in the global batch begin at `start`."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, start + jnp.arange(count))


def flip_and_crop(
    keys: Key[Array, "n"], image: UInt8[Array, "n height width 3"], pad: int
) -> UInt8[Array, "n height width 3"]:
    """Pads each side by `pad` pixels (edge values), crops at random to the original size and flips half of them."""
    return jax.vmap(_flip_and_crop, (0, 0, None))(keys, image, pad)


def erase(
    keys: Key[Array, "n"],
    image: Float[Array, "n height width 3"],
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 3.3),
) -> Float[Array, "n height width 3"]:
    """Sets a random rectangle of each image to the mean colour, 0 (random erasing).

    Args:
        keys: one key per image.
        image: normalised images.
        probability: probability that a rectangle of an image is erased.
        area: minimum and maximum of the rectangle's share of the image area, drawn uniformly.
        aspect: minimum and maximum of the rectangle's height / width, drawn uniformly.
    """
    return jax.vmap(_erase, (0, 0, None, None, None))(keys, image, probability, area, aspect)


def _flip_and_crop(key: Array, image: Array, pad: int) -> Array:
    """Reads the padded image by clamped coordinates, without building it."""
    height, width, _ = image.shape
    lowest, highest = jnp.array([-pad, -pad, 0]), jnp.array([pad, pad, 1])
    top, left, flip = jax.random.randint(key, (3,), lowest, highest + 1)
    rows = jnp.clip(top + jnp.arange(height), 0, height - 1)
    columns = jnp.clip(left + jnp.arange(width), 0, width - 1)
    return image[rows[:, None], jnp.where(flip, columns[::-1], columns)[None, :]]


def _erase(key: Array, image: Array, probability: float, area: tuple, aspect: tuple) -> Array:
    height, width, _ = image.shape
    u = jax.random.uniform(key, (3 + 2 * _PROPOSALS,))
    chance, down, along = u[:3]
    pixels = height * width * (area[0] + (area[1] - area[0]) * u[3 : 3 + _PROPOSALS])
    ratio = aspect[0] + (aspect[1] - aspect[0]) * u[3 + _PROPOSALS :]
    tall, wide = jnp.round(jnp.sqrt(pixels * ratio)), jnp.round(jnp.sqrt(pixels / ratio))
    fits = (tall < height) & (wide < width)
    first = jnp.argmax(fits)
    tall, wide = tall[first], wide[first]

    top = jnp.floor(down * (height - tall + 1))
    left = jnp.floor(along * (width - wide + 1))
    y, x = jnp.arange(height)[:, None, None], jnp.arange(width)[None, :, None]
    inside = (y >= top) & (y < top + tall) & (x >= left) & (x < left + wide)
    return jnp.where((chance < probability) & fits[first] & inside, jnp.zeros_like(image), image)
