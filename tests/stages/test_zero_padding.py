"""Inputs of a network for both modalities, and the zero-padding and one-stream networks."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import quickstart, sysu_zero_padding
from rgbir_jax import stages
from rgbir_jax.data.augment import normalise
from rgbir_jax.errors import UserError
from rgbir_jax.stages.inputs import network_input
from rgbir_jax.stages.views import flatten, views
from rgbir_jax.training import parallel
from tests.stages.steps import (
    CLASSES,
    KEY,
    check_lowers,
    drawn_state,
    first,
    full_size,
    on_devices,
    overfitted,
    split,
)
from tests.tiny import drawn_batch, tiny_config

RGB, IR = (jnp.full(3, modality, jnp.int32) for modality in (0, 1))
NOISE = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3), np.uint8)


def zero_padding_config(seen: str = "zero_padded"):
    """Returns the quickstart's teacher as a zero-padding network, with narrow networks."""
    config = tiny_config()
    config.recipe = ("teacher",)
    config.teacher.input = seen
    config.teacher.networks.head.bottleneck = 0
    return config


@cache
def system():
    """Returns (config, stage, state) of the narrow network."""
    config = zero_padding_config()
    stage = stages.build(config, "teacher", CLASSES)
    return config, stage, drawn_state(stage)


def test_a_red_image_has_its_grey_tone_in_one_channel_and_zeros_in_the_other():
    red = normalise(np.full((3, 4, 2, 3), (255, 0, 0), np.uint8))
    seen = network_input("zero_padded", red, RGB)
    np.testing.assert_allclose(seen[..., 0], 0.299, atol=1e-6)
    np.testing.assert_array_equal(seen[..., 1], 0)


def test_the_other_modality_swaps_the_channels():
    x = normalise(NOISE)
    np.testing.assert_array_equal(network_input("zero_padded", x, RGB), network_input("zero_padded", x, IR)[..., ::-1])


def test_grey_tones_of_the_three_inputs():
    grey = NOISE @ np.array([0.299, 0.587, 0.114]) / 255
    x = normalise(NOISE)
    np.testing.assert_array_equal(network_input("rgb", x, RGB), x)
    np.testing.assert_allclose(network_input("zero_padded", x, IR)[..., 1], grey, atol=1e-6)
    expected = (grey[..., None] - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    np.testing.assert_allclose(network_input("grey", x, RGB), expected, atol=1e-5)

    infrared = normalise(NOISE[..., :1].repeat(3, -1))  # of equal channels
    np.testing.assert_allclose(network_input("grey", infrared, IR), infrared, atol=1e-5)
    np.testing.assert_allclose(network_input("zero_padded", infrared, IR)[..., 1], NOISE[..., 0] / 255, atol=1e-6)


def test_erased_rectangles_do_not_show_the_modality():
    config, stage, _ = system()
    erase = {"probability": 1.0, "area": (0.3, 0.4), "aspect": (0.9, 1.1)}
    batch = drawn_batch(config)
    augment = config.augment.copy_and_resolve_references()
    augment.erase.update(erase)

    augmented = jax.jit(
        jax.vmap(lambda image, label: views(KEY, image, label, augment, stage.seen), axis_name=parallel.AXIS)
    )
    view = first(augmented(batch["image"][None], batch["label"][None]))
    assert view.erased.shape == (*batch["image"].shape[:-1], 2)
    for modality in (0, 1):
        np.testing.assert_array_equal(view.erased[:, modality, ..., 1 - modality], 0)
        assert 0.2 < np.mean(flatten(view.erased)[..., modality][modality::2] == 0) < 0.8
    changed = np.asarray(view.clean != view.erased).any(-1)
    assert 0.2 < changed.mean() < 0.5
    np.testing.assert_array_equal(np.asarray(view.erased)[changed], 0)


def test_without_the_kernels_of_its_channel_a_modality_is_not_seen():
    _, stage, state = system()
    x = jax.random.normal(KEY, (2, 64, 32, 3))
    black = normalise(jnp.zeros((2, 64, 32, 3), jnp.uint8))
    deaf = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * np.float32([[1], [0]]) if path[-2].key == "conv1" else leaf, state.params
    )
    features = jax.jit(stage.features)
    of_ir, of_black, of_rgb = (
        features(state.replace(params=deaf), images, jnp.full(2, modality, jnp.int32))
        for images, modality in ((x, 1), (black, 1), (x, 0))
    )
    np.testing.assert_allclose(of_ir, of_black, rtol=1e-5, atol=1e-6)
    assert np.abs(of_rgb - of_black).max() > 1e-3
    assert np.abs(features(state, x, jnp.ones(2, jnp.int32)) - of_ir).max() > 1e-3


@pytest.mark.slow
def test_a_tiny_batch_can_be_overfitted():
    before, after = overfitted(zero_padding_config(), "teacher", steps=100)
    assert after["L_id"] < 0.1 * before["L_id"]
    assert after["accuracy"] == 1


@pytest.mark.parametrize(
    ("preset", "trunk", "channels"),
    [("resnet50", 23_504_896, 2048), ("resnet6", 4_902_656, 512), ("one_stream_grey", 23_508_032, 2048)],
)
def test_full_size_networks_have_the_published_parameters(preset, trunk, channels):
    stage, state, sizes, features = full_size(sysu_zero_padding.get_config(preset), "one_stream")
    assert sizes == {"E_a": trunk, "head": channels * 395 + 395}
    assert (features.shape, features.dtype) == ((5, channels), jnp.float32)
    images, modality = jax.ShapeDtypeStruct((5, 224, 224, 3), jnp.float32), jax.ShapeDtypeStruct((5,), jnp.int32)
    assert jax.eval_shape(stage.feature_map, state, images, modality).shape == (5, 7, 7, channels)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["resnet50", "resnet6"])
def test_full_size_steps_lower(preset):
    check_lowers(sysu_zero_padding.get_config(preset), "one_stream")


def test_an_iteration_keeps_the_shapes():
    _, stage, state = system()
    batch = split(drawn_batch(zero_padding_config()), 4)
    (after, metrics) = jax.eval_shape(on_devices(stage.train_step), state, batch, KEY)
    assert jax.tree.map(lambda x: x.shape[1:], after) == jax.tree.map(lambda x: x.shape, state)
    assert {"L_id", "accuracy"} <= set(metrics)


@pytest.mark.slow
def test_one_device_and_four_agree():
    config, stage, state = system()
    step = on_devices(stage.train_step)
    one, four = (first(step(state, split(drawn_batch(config), devices), KEY)) for devices in (1, 4))
    given, expected = ({key: float(value) for key, value in metrics.items()} for _, metrics in (four, one))
    assert given == pytest.approx(expected, rel=1e-3, abs=1e-6)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5), four[0].batch_stats, one[0].batch_stats
    )


def test_one_modality_is_refused():
    config = zero_padding_config()
    config.modalities = (0,)
    with pytest.raises(UserError, match=r"zero-padding needs RGB and IR; set config.modalities = \(0, 1\)"):
        stages.build(config, "teacher", CLASSES)


def test_a_colour_of_erased_rectangles_is_refused():
    config = zero_padding_config()
    config.augment.erase.fill = (0.1, 0.2, 0.3)
    with pytest.raises(
        UserError, match=r"zero-padding erases with 0 in both channels; leave config.augment.erase.fill"
    ):
        stages.build(config, "teacher", CLASSES)


def test_an_unknown_input_is_refused():
    with pytest.raises(UserError, match=r'config.teacher.input "thermal" is unknown; choose "rgb", "grey" or'):
        stages.build(zero_padding_config("thermal"), "teacher", CLASSES)


def test_stages_that_share_networks_see_the_same():
    config = tiny_config()
    config.teacher.input = "grey"
    with pytest.raises(UserError, match=r'image uses networks of teacher, .* set config.teacher.input to "rgb"'):
        stages.build(config, "image", CLASSES)
    config = quickstart.get_config()
    config.control.input = "grey"
    with pytest.raises(UserError, match=r'control uses networks of teacher, .* set config.teacher.input to "grey"'):
        stages.build(config, "control", CLASSES)


def test_a_second_head_needs_a_bottleneck():
    config = zero_padding_config()
    config.teacher.networks.heads = ("head", "other")
    config.teacher.networks.other = config.teacher.networks.head
    with pytest.raises(UserError, match=r"networks.head.bottleneck is 0, which only a head without others may have"):
        stages.build(config, "teacher", CLASSES)
