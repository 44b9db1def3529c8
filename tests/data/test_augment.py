import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.data import augment
from rgbir_jax.data.augment import MEAN, STD, denormalise, image_keys, normalise

flip_and_crop = jax.jit(augment.flip_and_crop, static_argnums=2)
erase = jax.jit(augment.erase, static_argnums=(2, 3, 4))

HEIGHT, WIDTH, PAD = 20, 12, 4


def keys(count: int, seed: int = 0):
    return image_keys(jax.random.key(seed), 0, count)


@pytest.fixture(scope="module")
def images() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (64, HEIGHT, WIDTH, 3), np.uint8))


def test_normalise_by_hand_and_back(images):
    x = np.asarray(normalise(np.asarray(images)))
    assert x.dtype == np.float32
    expected = (np.asarray(images)[5, 3, 2].astype(np.float64) / 255 - [0.485, 0.456, 0.406]) / [
        0.229,
        0.224,
        0.225,
    ]
    np.testing.assert_allclose(x[5, 3, 2], expected, rtol=1e-5)
    np.testing.assert_array_equal(denormalise(x), images)
    np.testing.assert_array_equal(denormalise(jnp.full((1, 3), 99.0)), [[255] * 3])
    np.testing.assert_array_equal(denormalise(jnp.full((1, 3), -99.0)), [[0] * 3])


def test_flip_and_crop_is_a_window_of_the_padded_image(images):
    """Every result is one of the windows that NumPy cuts from the padded image, mirrored or not."""
    results = np.asarray(flip_and_crop(keys(64), images, PAD))
    assert results.dtype == np.uint8
    windows = []
    for image, result in zip(np.asarray(images), results, strict=True):
        padded = np.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)), mode="edge")
        matches = [
            (top, left, flipped)
            for top in range(2 * PAD + 1)
            for left in range(2 * PAD + 1)
            for flipped in (False, True)
            if (padded[top : top + HEIGHT, left : left + WIDTH][:, :: -1 if flipped else 1] == result).all()
        ]
        assert len(matches) == 1
        windows += matches
    tops, lefts, flips = map(np.array, zip(*windows, strict=True))
    assert set(tops) == set(lefts) == set(range(2 * PAD + 1))
    assert 16 < flips.sum() < 48
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.5


def test_without_padding_only_the_flip_is_left(images):
    results = np.asarray(flip_and_crop(keys(64), images, 0))
    same = (results == images).all((1, 2, 3))
    mirrored = (results == images[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()


def rectangles(x: np.ndarray) -> np.ndarray:
    """Returns (height, width, top, left) of the zeros of each image; fails if they are not a full rectangle."""
    boxes = []
    for zero in (x == 0).all(-1):
        if not zero.any():
            continue
        rows, columns = np.flatnonzero(zero.any(1)), np.flatnonzero(zero.any(0))
        assert zero.sum() == len(rows) * len(columns)
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (len(rows), len(columns))
        boxes.append((len(rows), len(columns), rows[0], columns[0]))
    return np.array(boxes)


def test_erased_rectangles_have_the_requested_area_and_aspect():
    height, width = 64, 32
    x = jnp.ones((1000, height, width, 3))
    result = np.asarray(erase(keys(1000), x, 0.5, (0.02, 0.4), (0.3, 3.3)))
    assert set(np.unique(result)) == {0, 1}
    boxes = rectangles(result)
    assert 420 < len(boxes) < 580  # five standard deviations around one half
    tall, wide, top, left = boxes.T
    # Rounding to whole pixels moves a side by half a pixel at most.
    assert ((tall + 0.5) * (wide + 0.5) >= 0.02 * height * width).all()
    assert ((tall - 0.5) * (wide - 0.5) <= 0.4 * height * width).all()
    assert ((tall + 0.5) / (wide - 0.5) >= 0.3).all()
    assert ((tall - 0.5) / (wide + 0.5) <= 3.3).all()
    # The values cover both ranges, and all places in which the rectangle fits.
    area, aspect = tall * wide / (height * width), tall / wide
    assert area.min() < 0.05
    assert area.max() > 0.35
    assert aspect.min() < 0.6
    assert aspect.max() > 3.0
    for place, room in ((top, height - tall), (left, width - wide)):
        assert (place == 0).any()
        assert (place == room).any()
        assert 0.4 < np.mean(place / room) < 0.6


def test_erase_leaves_the_rest_and_can_be_switched_off(images):
    x = normalise(images)
    result = np.asarray(erase(keys(64), x, 1.0))
    untouched = (result != 0).any(-1)
    np.testing.assert_array_equal(result[untouched], np.asarray(x)[untouched])
    assert ((result == 0).all(-1).any((1, 2))).mean() > 0.95
    np.testing.assert_array_equal(erase(keys(64), x, 0.0), x)


def test_results_do_not_depend_on_how_the_batch_is_divided(images):
    """Keys belong to places in the global batch, so two halves give the same images as the whole."""
    key = jax.random.key(3)

    def views(images, start):
        each = image_keys(key, start, len(images))
        return erase(each, normalise(flip_and_crop(each, images, PAD)))

    whole = views(images, 0)
    halves = [views(images[start : start + 32], start) for start in (0, 32)]
    np.testing.assert_allclose(np.concatenate(halves), whole, atol=1e-6)
    assert not np.array_equal(halves[0], views(images[:32], 32))


def test_constants_are_those_of_imagenet():
    np.testing.assert_allclose(MEAN * 255, [123.675, 116.28, 103.53], rtol=1e-5)
    np.testing.assert_allclose(STD * 255, [58.395, 57.12, 57.375], rtol=1e-5)
