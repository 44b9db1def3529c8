"""Sizes, ranges and grey tones of the images that cmPIG's networks see and draw."""

import jax.numpy as jnp
import numpy as np

from rgbir_jax.data.augment import MEAN, STD, denormalise, normalise
from rgbir_jax.stages.cmpig_images import grey, large, shown, small

NOISE = np.random.default_rng(0).integers(0, 256, (2, 8, 4, 3), np.uint8)


def test_half_the_size_is_the_mean_of_four_pixels_in_another_range():
    x = np.asarray(NOISE, float) / 255
    mean = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    np.testing.assert_allclose(small(normalise(NOISE)), 2 * mean - 1, atol=1e-5)


def test_twice_the_size_is_interpolated():
    """A new pixel is a quarter pixel from the nearest old one, and three quarters from the next."""
    x = np.random.default_rng(1).uniform(-1, 1, (2, 3, 2, 3))

    def doubled(x, axis):
        before = np.take(x, [0, *range(x.shape[axis] - 1)], axis)
        after = np.take(x, [*range(1, x.shape[axis]), -1], axis)
        both = np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        return both.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])

    expected = (doubled(doubled(x, 1), 2) / 2 + 0.5 - MEAN) / STD
    np.testing.assert_allclose(large(jnp.asarray(x, jnp.float32)), expected, atol=1e-5)


def test_grey_tones_of_normalised_channels():
    x = np.asarray(normalise(NOISE), float)
    tone = 0.2989 * x[..., 0] + 0.5870 * x[..., 1] + 0.1140 * x[..., 2]
    np.testing.assert_allclose(grey(normalise(NOISE)), tone[..., None].repeat(3, -1), atol=1e-5)


def test_drawings_are_shown_in_the_size_of_the_images():
    even = np.full((1, 2, 4, 2, 3), 100, np.uint8)
    x = small(normalise(np.full((2, 8, 4, 3), 100, np.uint8)))
    np.testing.assert_array_equal(shown(x[None]), even.repeat(2, 2).repeat(2, 3))
    assert denormalise(large(x)).shape == (2, 8, 4, 3)
