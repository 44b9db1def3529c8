"""Augmentation on the device: flip, crop, change of channels, normalise, erase.

Every image has its own key, so the result does not depend on how a batch is split over devices.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Key, UInt8

# ImageNet's statistics per channel, in the range 0..1.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)  # the weights of the channels in the grey tone

# Number of rectangles proposed per image; the first that fits is erased. With the usual ranges and 256x128 images one
# proposal in twenty does not fit, so it is very unlikely that all of them fail.
_PROPOSALS = 10
_DRAWS = 2 + 2 * _PROPOSALS  # random numbers of a rectangle
_PATCHES = 16  # rectangles that are scaled at most in one image; 99 of 100 images need no fifth
_PAIRS = 16  # proposed per draw of a Beta distribution; one in six is rejected
DARK = 0.1  # scaling ends once some pixel has less of its value


def normalise(image: UInt8[Array | np.ndarray, "*batch 3"]) -> Float32[Array, "*batch 3"]:
    """Converts uint8 images to float32, standardised with ImageNet's mean and standard deviation."""
    return standardise(in_unit_range(image))


def in_unit_range(image: UInt8[Array | np.ndarray, "*batch 3"]) -> Float32[Array, "*batch 3"]:
    """Converts uint8 images to float32 in 0..1."""
    return jnp.asarray(image, jnp.float32) / 255


def standardise(image: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Subtracts ImageNet's mean from images in 0..1 and divides them by its standard deviation."""
    return (image - MEAN) / STD


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
    image: Float[Array, "n height width channels"],
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 3.3),
    fill: tuple[float, ...] = (0.0,),
) -> Float[Array, "n height width channels"]:
    """Sets a random rectangle of each image to one colour (random erasing).

    Args:
        keys: one key per image.
        image: normalised images.
        probability: probability that a rectangle of an image is erased.
        area: minimum and maximum of the rectangle's share of the image area, drawn uniformly.
        aspect: minimum and maximum of the rectangle's height / width, drawn uniformly.
        fill: the colour as a normalised value of each channel; 0 is the mean colour.
    """
    return jax.vmap(_erase, (0, 0, None, None, None, None))(keys, image, probability, area, aspect, fill)


def to_grey(
    keys: Key[Array, "n"], image: Float[Array, "n height width 3"], probability: float
) -> Float[Array, "n height width 3"]:
    """Replaces all channels of some images by their grey tone, each image with the given probability."""
    chosen = jax.vmap(jax.random.bernoulli, (0, None))(keys, probability)
    return jnp.where(chosen[:, None, None, None], _luma(image), image)


def exchange_channels(
    keys: Key[Array, "n"], image: Float[Array, "n height width 3"]
) -> Float[Array, "n height width 3"]:
    """Copies one channel of each image, drawn uniformly, to all three (CAJ)."""
    return jax.vmap(lambda key, x: _copied(x, jax.random.randint(key, (), 0, 3)))(keys, image)


def adaptive_grey(keys: Key[Array, "n"], image: Float[Array, "n height width 3"]) -> Float[Array, "n height width 3"]:
    """Does one of four things to each image, each in a quarter of all cases (CAJ).

    It copies channel 0, 1 or 2 to all three, or else, in half of the cases, replaces all channels by the grey tone.
    """

    def of_one(key, x):
        case, coin = jax.random.randint(key, (2,), 0, jnp.array([4, 2]))
        return jnp.where(case < 3, _copied(x, jnp.minimum(case, 2)), jnp.where(coin, _luma(x), x))

    return jax.vmap(of_one)(keys, image)


def mix_channels(
    keys: Key[Array, "n"], image: Float[Array, "n height width 3"], probability: float, concentration: float = 0.3
) -> Float[Array, "n height width 3"]:
    """Replaces all channels of some images by one random mixture of them (RLE's moderate augmentation).

    Args:
        keys: one key per image.
        image: images in 0..1.
        probability: probability that the channels of an image are mixed.
        concentration: the three weights are draws from Beta(concentration, concentration), divided by their sum.
    """

    def of_one(key, x):
        chance, draws = jax.random.split(key)
        weights = _beta(draws, concentration, (3,))
        weights = weights / jnp.maximum(jnp.sum(weights), 1e-12)
        mixture = jnp.broadcast_to(jnp.sum(x * weights, axis=-1, keepdims=True), x.shape)
        return jnp.where(jax.random.bernoulli(chance, probability), mixture, x)

    return jax.vmap(of_one)(keys, image)


def scale_patches(
    keys: Key[Array, "n"],
    image: Float[Array, "n height width 3"],
    probability: float,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 3.3),
    concentration: float = 0.4,
) -> Float[Array, "n height width 3"]:
    """Multiplies each channel of random rectangles by a factor of its own (RLE's radical augmentation).

    The factor is β / (the channel's largest value in the rectangle), so that β becomes the largest one. Rectangles
    follow each other, and later ones change what earlier ones made, until the product of all factors is below `DARK`
    in some channel of some pixel.

    Args:
        keys: one key per image.
        image: images in 0..1; the result is as well.
        probability: probability that an image is changed.
        area: as in `erase`.
        aspect: as in `erase`.
        concentration: β is a draw from Beta(concentration, concentration).
    """

    def of_one(key, x):
        chance, place, draw = jax.random.split(key, 3)
        places = jax.random.uniform(place, (_PATCHES, _DRAWS))
        values = _beta(draw, concentration, (_PATCHES, 3))

        def another(carry, patch):
            x, product, is_dark = carry
            u, value = patch
            inside = _rectangle(u, x.shape, area, aspect)
            largest = jnp.max(jnp.where(inside, x, 0), axis=(0, 1))
            factor = jnp.where(inside & ~is_dark, value / jnp.maximum(largest, 1e-6), 1)
            product = product * factor
            return (x * factor, product, jnp.min(product) < DARK), None

        (scaled, _, _), _ = jax.lax.scan(another, (x, jnp.ones_like(x), False), (places, values))
        return jnp.where(jax.random.bernoulli(chance, probability), scaled, x)

    return jax.vmap(of_one)(keys, image)


def _flip_and_crop(key: Array, image: Array, pad: int) -> Array:
    """Reads the padded image by clamped coordinates, without building it."""
    height, width, _ = image.shape
    lowest, highest = jnp.array([-pad, -pad, 0]), jnp.array([pad, pad, 1])
    top, left, flip = jax.random.randint(key, (3,), lowest, highest + 1)
    rows = jnp.clip(top + jnp.arange(height), 0, height - 1)
    columns = jnp.clip(left + jnp.arange(width), 0, width - 1)
    return image[rows[:, None], jnp.where(flip, columns[::-1], columns)[None, :]]


def _beta(key: Array, concentration: float, shape: tuple) -> Array:
    """Draws from Beta(concentration, concentration), concentration at most 1, by Jöhnk's method.

    It rejects pairs, but has no loop that an accelerator would wait for, unlike jax.random.beta.
    """
    x, y = jax.random.uniform(key, (2, _PAIRS, *shape)) ** (1 / concentration)
    first = jnp.argmax(x + y <= 1, axis=0, keepdims=True)
    x, y = (jnp.take_along_axis(values, first, axis=0)[0] for values in (x, y))
    return x / jnp.maximum(x + y, 1e-30)


def _luma(image: Array) -> Array:
    return jnp.broadcast_to(jnp.sum(image * LUMA, axis=-1, keepdims=True), image.shape)


def _copied(image: Array, channel: Array) -> Array:
    """Returns an image all of whose channels are one of its own."""
    return jnp.broadcast_to(jnp.take(image, channel, axis=-1)[..., None], image.shape)


def _erase(key: Array, image: Array, probability: float, area: tuple, aspect: tuple, fill: tuple) -> Array:
    u = jax.random.uniform(key, (1 + _DRAWS,))
    erased = (u[0] < probability) & _rectangle(u[1:], image.shape, area, aspect)
    return jnp.where(erased, jnp.asarray(fill, image.dtype), image)


def _rectangle(u: Array, shape: tuple, area: tuple, aspect: tuple) -> Array:
    """Makes a rectangle that fits into an image of some shape from `_DRAWS` random numbers in 0..1.

    Returns:
        bool [height, width, 1], True inside; nowhere if no proposal fits.
    """
    height, width, _ = shape
    down, along = u[:2]
    pixels = height * width * (area[0] + (area[1] - area[0]) * u[2 : 2 + _PROPOSALS])
    ratio = aspect[0] + (aspect[1] - aspect[0]) * u[2 + _PROPOSALS :]
    tall, wide = jnp.round(jnp.sqrt(pixels * ratio)), jnp.round(jnp.sqrt(pixels / ratio))
    fits = (tall < height) & (wide < width)
    first = jnp.argmax(fits)
    tall, wide = tall[first], wide[first]

    top = jnp.floor(down * (height - tall + 1))
    left = jnp.floor(along * (width - wide + 1))
    y, x = jnp.arange(height)[:, None, None], jnp.arange(width)[None, :, None]
    return fits[first] & (y >= top) & (y < top + tall) & (x >= left) & (x < left + wide)
