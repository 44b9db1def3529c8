"""Views of two-stem networks: which images they show, in which order they are changed, and with which keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from rgbir_jax.data import augment
from rgbir_jax.stages.channel_views import channel_views
from rgbir_jax.training import parallel

IDENTITIES, SHOTS = 8, 2
KEY = jax.random.key(5)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
PLAIN = {"grey": 0.0, "mix": 0.0, "scale": 0.0, "exchange": False}
FILL = (0.4914, 0.4822, 0.4465)


@pytest.fixture(scope="module")
def image():
    """Returns images that are equal to their mirror images; with no padding, flip and crop do not change them."""
    noise = np.random.default_rng(0).integers(0, 256, (IDENTITIES, 2, SHOTS, 24, 12, 3), np.uint8)
    noise[:, 1] = noise[:, 1, ..., :1]  # infrared
    return np.maximum(noise, noise[..., ::-1, :])


def views(image, channels, probability=0.0, pad=0, key=KEY, devices=1):
    """Returns (RGB, IR) views as NumPy arrays."""
    erase = {"probability": probability, "area": (0.02, 0.4), "aspect": (0.3, 3.3), "fill": FILL}
    config = ConfigDict({"pad": pad, "erase": erase})
    label = jnp.arange(IDENTITIES)

    def compute(image, label):
        return channel_views(key, image, label, config, ConfigDict(PLAIN | channels))

    parts = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), (jnp.asarray(image), label))
    view = jax.jit(jax.vmap(compute, axis_name=parallel.AXIS))(*parts)
    np.testing.assert_array_equal(view.label.reshape(-1), label)
    return tuple(np.asarray(x).reshape(-1, *x.shape[2:]) for x in (view.rgb, view.ir))


def normalised(image):
    return (image.astype(np.float64) / 255 - MEAN) / STD


def test_without_changes_images_are_normalised_only(image):
    rgb, ir = views(image, {})
    np.testing.assert_allclose(rgb, normalised(image[:, 0]), atol=1e-5)
    np.testing.assert_allclose(ir, normalised(image[:, 1]), atol=1e-5)


def test_an_exchanged_view_follows_the_plain_one(image):
    rgb, ir = views(image, {"exchange": True})
    assert rgb.shape[:2] == (IDENTITIES, 2 * SHOTS)
    x = normalised(image[:, 0])
    np.testing.assert_allclose(rgb[:, :SHOTS], x, atol=1e-5)
    # Channels are copied after normalisation.
    copies = [np.abs(rgb[:, SHOTS:] - x[..., c : c + 1]).max((-1, -2, -3)) < 1e-5 for c in range(3)]
    np.testing.assert_array_equal(np.sum(copies, axis=0), 1)
    assert all(np.mean(copy) > 0 for copy in copies)
    x = normalised(image[:, 1])
    tones = x @ [0.2989, 0.5870, 0.1140]
    results = [*np.moveaxis(x, -1, 0), tones]
    copies = [np.abs(ir - result[..., None]).max((-1, -2, -3)) < 1e-4 for result in results]
    copies.append(np.abs(ir - x).max((-1, -2, -3)) < 1e-4)
    np.testing.assert_array_equal(np.sum(copies, axis=0), 1)


def test_both_views_of_an_image_have_draws_of_their_own(image):
    noise = np.random.default_rng(1).integers(0, 256, image.shape, np.uint8)
    rgb, _ = views(noise, {"exchange": True}, probability=1.0, pad=4)
    first, second = rgb[:, :SHOTS], rgb[:, SHOTS:]
    erased = [(np.abs(view - fill) < 1e-6) for view, fill in ((first, FILL), (second, FILL))]
    # The channel is copied after erasing, so that all channels of an erased rectangle are equal as well.
    np.testing.assert_array_equal(second, second[..., :1].repeat(3, -1))
    where_first, where_second = erased[0].all(-1), erased[1].any(-1)
    share = where_first.mean(), where_second.mean()
    assert all(0.1 < part < 0.35 for part in share)  # 21% on average
    assert (where_first != where_second).mean() > 0.1


def test_changes_come_before_normalisation_in_a_fixed_order(image, monkeypatch):
    """Each change is replaced by one that can be told from the others in any order."""
    monkeypatch.setattr(augment, "to_grey", lambda keys, x, p: x + p)
    monkeypatch.setattr(augment, "mix_channels", lambda keys, x, p: x * p)
    monkeypatch.setattr(augment, "scale_patches", lambda keys, x, p, area, aspect: (x + p) ** 2)
    rgb, ir = views(image, {"grey": 0.25, "mix": 0.5, "scale": 0.75})
    for view, own in ((rgb, image[:, 0]), (ir, image[:, 1])):
        expected = ((own / 255 + 0.25) * 0.5 + 0.75) ** 2
        np.testing.assert_allclose(view, (expected - MEAN) / STD, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "is_changed"),
    [
        ("grey", lambda x: np.ptp(x, axis=-1).max((-1, -2)) < 1e-5),
        ("mix", lambda x: np.ptp(x, axis=-1).max((-1, -2)) < 1e-5),
        ("scale", lambda x: x.min((-1, -2, -3)) < 0.02),
    ],
)
def test_a_probability_is_one_of_each_image(image, change, is_changed):
    image = np.maximum(image, 30)
    for probability in (0.5, 1.0):
        rgb, _ = views(image, {change: probability})
        changed = is_changed(rgb * STD + MEAN)
        if probability == 1:
            assert changed.mean() > 0.7
        else:
            assert 0 < changed.mean() < 0.95
            np.testing.assert_allclose(rgb[~changed], normalised(image[:, 0])[~changed], atol=1e-5)


def test_views_do_not_depend_on_the_number_of_devices(image):
    channels = {"grey": 0.3, "mix": 0.5, "scale": 0.5, "exchange": True}
    one, four = (views(image, channels, probability=0.5, pad=4, devices=devices) for devices in (1, 4))
    for whole, parts in zip(one, four, strict=True):
        np.testing.assert_allclose(parts, whole, atol=1e-5)
    other = views(image, channels, probability=0.5, pad=4, key=jax.random.key(6))
    assert np.mean(other[0] != one[0]) > 0.5
