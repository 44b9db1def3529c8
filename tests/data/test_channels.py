"""Changes of the channels on the device: which values they give, how often, and what they leave as it is."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.data import augment
from rgbir_jax.data.augment import image_keys

COUNT = 9000
LUMA = np.array([0.2989, 0.5870, 0.1140])


def keys(count: int, seed: int = 0):
    return image_keys(jax.random.key(seed), 0, count)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((200, 24, 16, 3)).astype(np.float32)


def fractions(result: np.ndarray, values: list) -> np.ndarray:
    """Returns how often each of some pixels occurs in images of one pixel; fails if there is another one."""
    matches = np.abs(result[:, 0, 0, None] - np.array(values)).max(-1) < 1e-5
    np.testing.assert_array_equal(matches.sum(1), 1)
    return matches.mean(0)


def test_exchange_copies_each_channel_in_a_third_of_the_images():
    result = np.asarray(jax.jit(augment.exchange_channels)(keys(COUNT), jnp.full((COUNT, 1, 1, 3), jnp.arange(1.0, 4))))
    np.testing.assert_allclose(fractions(result, [[1, 1, 1], [2, 2, 2], [3, 3, 3]]), 1 / 3, atol=0.015)  # 3σ


def test_adaptive_grey_has_five_results():
    x = jnp.full((COUNT, 1, 1, 3), jnp.arange(1.0, 4))
    result = np.asarray(jax.jit(augment.adaptive_grey)(keys(COUNT), x))
    tone = float(LUMA @ [1, 2, 3])
    values = [[1, 1, 1], [2, 2, 2], [3, 3, 3], [tone] * 3, [1, 2, 3]]
    np.testing.assert_allclose(fractions(result, values), [1 / 4, 1 / 4, 1 / 4, 1 / 8, 1 / 8], atol=0.0137)


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_grey_is_drawn_for_each_image(images, probability):
    result = np.asarray(jax.jit(partial(augment.to_grey, probability=probability))(keys(200), images))
    tones = np.repeat((images @ LUMA)[..., None], 3, axis=-1)
    grey, same = (np.isclose(result, x, atol=1e-5).all((1, 2, 3)) for x in (tones, images))
    assert (grey ^ same).all()
    assert grey.mean() == pytest.approx(probability, abs=0.11)


def test_one_key_copies_one_channel_of_the_whole_image(images):
    for change in (augment.exchange_channels, augment.adaptive_grey):
        result = np.asarray(jax.jit(change)(keys(200), images))
        tones = (images @ LUMA)[..., None]
        expected = [*np.split(np.repeat(images, 3, axis=-1), 3, axis=-1), np.repeat(tones, 3, axis=-1), images]
        matches = [np.isclose(result, x, atol=1e-5).all((1, 2, 3)) for x in expected]
        assert np.sum(matches, axis=0).tolist() == [1] * 200


mix = jax.jit(augment.mix_channels, static_argnames="probability")


def test_mixtures_are_weighted_means_of_the_channels():
    """The image's three pixels (1, 0, 0), (0, 1, 0) and (0, 0, 1) show the weights."""
    x = jnp.broadcast_to(jnp.eye(3)[:, None], (COUNT, 3, 1, 3))
    result = np.asarray(mix(keys(COUNT), x, probability=1.0))
    np.testing.assert_array_equal(result, result[..., :1].repeat(3, -1))
    weights = result[:, :, 0, 0]
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(weights.mean(0), 1 / 3, atol=0.012)
    # Compared with NumPy's Beta distribution by the mean of the largest weight.
    beta = np.random.default_rng(0).beta(0.3, 0.3, (COUNT, 3))
    expected = (beta / beta.sum(1, keepdims=True)).max(1)
    assert weights.max(1).mean() == pytest.approx(expected.mean(), abs=0.01)
    assert weights.max(1).std() == pytest.approx(expected.std(), abs=0.01)


def test_a_mixture_computed_by_hand(monkeypatch):
    monkeypatch.setattr(augment, "_beta", lambda key, concentration, shape: jnp.array([0.4, 0.6, 1.0]))
    result = augment.mix_channels(keys(1), jnp.array([[[[0.1, 0.5, 0.9]]]]), 1.0)
    np.testing.assert_allclose(result, np.full((1, 1, 1, 3), 0.62), rtol=1e-6)


def test_half_of_the_images_are_mixed_and_grey_ones_stay(images):
    result = np.asarray(mix(keys(200), images, probability=0.5))
    mixed = (result == result[..., :1]).all((1, 2, 3))
    np.testing.assert_array_equal(result[~mixed], images[~mixed])
    assert 0.39 < mixed.mean() < 0.61
    grey = images[..., :1].repeat(3, -1)
    np.testing.assert_allclose(mix(keys(200), grey, probability=1.0), grey, atol=1e-6)


scale = jax.jit(augment.scale_patches, static_argnames="probability")


def scaled_by_hand(image, patches):
    """Scales the channels of rectangles (top, left, bottom, right) so that their largest values become β."""
    image, product = image.astype(np.float64), np.ones(image.shape)
    for (top, left, bottom, right), beta in patches:
        if product.min() < 0.1:
            break
        inside = (slice(top, bottom), slice(left, right))
        factor = beta / image[inside].max((0, 1))
        image[inside] *= factor
        product[inside] *= factor
    return image


def test_patches_computed_by_hand(monkeypatch, images):
    """The second rectangle lies partly in the first; after it a value has less than a tenth, so the third is unused."""
    rectangles = [(2, 3, 12, 9), (8, 5, 20, 15), (0, 0, 24, 16)]
    values = [[0.5, 0.9, 0.3], [0.6, 0.05, 0.9], [0.2, 0.3, 0.4]]
    masks = np.zeros((augment._PATCHES, 24, 16, 1), bool)
    for mask, (top, left, bottom, right) in zip(masks, rectangles, strict=False):
        mask[top:bottom, left:right] = True
    draws = np.full((augment._PATCHES, 3), 0.5, np.float32)
    draws[:3] = values
    monkeypatch.setattr(augment, "_beta", lambda key, concentration, shape: jnp.asarray(draws))
    monkeypatch.setattr(augment, "_DRAWS", 1)
    monkeypatch.setattr(
        jax.random, "uniform", lambda key, shape: jnp.arange(augment._PATCHES, dtype=jnp.float32).reshape(shape)
    )
    monkeypatch.setattr(augment, "_rectangle", lambda u, *others: jnp.asarray(masks)[u[0].astype(int)])
    monkeypatch.setattr(jax.random, "bernoulli", lambda key, probability: True)
    result = augment.scale_patches(keys(1), jnp.asarray(images[:1]), 0.5)
    expected = scaled_by_hand(images[0], list(zip(rectangles, values, strict=True)))
    np.testing.assert_allclose(result[0], expected, atol=1e-6)


def test_scaled_images_stay_in_their_range_and_have_a_dark_place(images):
    result = np.asarray(scale(keys(200), images, probability=1.0))
    assert result.min() >= 0
    assert result.max() <= 1
    ratio = result / np.maximum(images, 1e-9)
    assert (ratio.min((1, 2, 3)) < 0.1).mean() > 0.99
    # Pixels outside of all rectangles are the same bit for bit; there are some in almost every image.
    untouched = (result == images).all(-1)
    assert (untouched.any((1, 2))).mean() > 0.9
    assert 0.2 < untouched.mean() < 0.9
    some = np.asarray(scale(keys(200), images, probability=0.5))
    changed = (some != images).any((1, 2, 3))
    assert 0.39 < changed.mean() < 0.61
    np.testing.assert_array_equal(some[changed], result[changed])


def test_scaling_ends_after_the_patch_that_makes_a_dark_place(images):
    """One patch is enough in about half of the images, so their changed pixels are one full rectangle."""
    result = np.asarray(scale(keys(200), images, probability=1.0))
    whole = []
    for changed in (result != images).any(-1):
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        whole.append(changed.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1))
    assert 0.4 < np.mean(whole) < 0.8


def test_scaling_colours_an_infrared_image_and_survives_a_black_one(images):
    grey = images[..., :1].repeat(3, -1)
    coloured = np.asarray(scale(keys(200), grey, probability=1.0))
    assert ((coloured != coloured[..., :1]).any((1, 2, 3))).all()
    np.testing.assert_array_equal(scale(keys(200), 0 * images, probability=1.0), 0)


def test_draws_are_those_of_a_beta_distribution():
    for concentration in (0.3, 0.4, 1.0):
        values = jax.jit(partial(augment._beta, concentration=concentration, shape=(50_000,)))(jax.random.key(1))
        expected = np.random.default_rng(2).beta(concentration, concentration, 50_000)
        quantiles = np.linspace(0, 1, 21)[1:-1]
        np.testing.assert_allclose(np.quantile(values, quantiles), np.quantile(expected, quantiles), atol=0.012)


def test_an_erased_patch_has_the_given_colour(images):
    erase = jax.jit(partial(augment.erase, probability=1.0, fill=(0.25, -1.5, 2.0)))
    result = np.asarray(erase(keys(200), images))
    plain = np.asarray(jax.jit(partial(augment.erase, probability=1.0))(keys(200), images))
    erased = (result != images).any(-1)
    np.testing.assert_array_equal(erased, (plain == 0).all(-1))  # the same rectangles as with the mean colour
    np.testing.assert_allclose(result[erased], np.full((erased.sum(), 3), [0.25, -1.5, 2.0]))


@pytest.mark.parametrize(
    "change",
    [
        augment.exchange_channels,
        augment.adaptive_grey,
        partial(augment.to_grey, probability=0.5),
        partial(augment.mix_channels, probability=0.5),
        partial(augment.scale_patches, probability=0.5),
    ],
)
def test_results_do_not_depend_on_how_the_batch_is_divided(images, change):
    key, change = jax.random.key(3), jax.jit(change)
    whole = change(image_keys(key, 0, 20), images[:20])
    halves = [change(image_keys(key, start, 10), images[start : start + 10]) for start in (0, 10)]
    np.testing.assert_allclose(np.concatenate(halves), whole, atol=1e-6)
    assert not np.array_equal(change(image_keys(key, 20, 20), images[:20]), whole)
