"""Each special layer against an independent computation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.models import layers
from rgbir_jax.models.layers import Conv, Dropout, LayerNorm
from tests.models import numpy_layers as by_hand

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def drawn(*shape, mean=0.0):
    return jnp.asarray(mean + RNG.normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(1, 1, 1), (1, 2, 1), (3, 1, 1), (3, 2, 1), (5, 1, 1), (3, 1, 3)]
)
@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
def test_conv_pads_by_reflection(kernel, stride, dilation, size):
    x = drawn(2, *size, 3)
    module = Conv(4, kernel, stride, dilation)
    params = module.init(KEY, x)["params"]
    params["conv"]["bias"] = drawn(4)
    out = module.apply({"params": params}, x)
    assert out.shape[1:3] == tuple(-(-side // stride) for side in size)
    np.testing.assert_allclose(out, by_hand.conv(x, params, stride, dilation), rtol=1e-4, atol=1e-5)


def test_a_dilation_wider_than_the_map_keeps_reflecting():
    x = drawn(1, 6, 4, 2)
    module = Conv(3, 3, dilation=9)
    params = module.init(KEY, x)["params"]
    np.testing.assert_allclose(module.apply({"params": params}, x), by_hand.conv(x, params, dilation=9), atol=1e-4)


def test_instance_norm():
    x = drawn(2, 5, 4, 3, mean=7) * 0.01  # small values, so that eps matters
    np.testing.assert_allclose(layers.instance_norm(x), by_hand.instance_norm(x), atol=1e-4)


def test_adain_sets_mean_and_deviation_of_each_channel():
    x, scale, bias = drawn(2, 8, 6, 3, mean=2), drawn(2, 3), drawn(2, 3)
    out = np.asarray(layers.adaptive_instance_norm(x, scale, bias))
    np.testing.assert_allclose(
        out, by_hand.adaptive_instance_norm(x, scale[:, None, None], bias[:, None, None]), atol=1e-5
    )
    np.testing.assert_allclose(out.mean((1, 2)), bias, atol=1e-5)
    np.testing.assert_allclose(out.std((1, 2)), np.abs(scale), rtol=1e-3)


def test_layer_norm():
    x = drawn(3, 2, 3, 4, mean=5) * 1e-3  # few, small values: the unbiased deviation and the place of eps matter
    gain, bias = drawn(4), drawn(4)
    out = LayerNorm().apply({"params": {"gain": gain, "bias": bias}}, x)
    np.testing.assert_allclose(out, by_hand.layer_norm(x, gain, bias), atol=1e-4)


def test_layer_norm_begins_with_uniform_gains():
    params = LayerNorm().init(KEY, jnp.zeros((1, 2, 2, 4000)))["params"]
    gain = np.asarray(params["gain"])
    assert gain.min() >= 0
    assert gain.max() < 1
    np.testing.assert_allclose(np.quantile(gain, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.03)
    assert not np.any(params["bias"])


@pytest.mark.parametrize("size", [(8, 6), (5, 7)])
def test_halve_averages_the_pixels_that_exist(size):
    x = drawn(2, *size, 3)
    out = layers.halve(x)
    expected = np.zeros((2, -(-size[0] // 2), -(-size[1] // 2), 3))
    for i, j in np.ndindex(expected.shape[1:3]):
        window = x[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
        expected[:, i, j] = window.mean((1, 2))
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layers.halve(jnp.ones((1, *size, 1))), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("height", "bands"),
    [
        (8, [(0, 2), (2, 4), (4, 6), (6, 8)]),
        (6, [(0, 2), (1, 3), (3, 5), (4, 6)]),
        (5, [(0, 2), (1, 3), (2, 4), (3, 5)]),
        (7, [(0, 2), (1, 4), (3, 6), (5, 7)]),
        (4, [(0, 1), (1, 2), (2, 3), (3, 4)]),
    ],
)
def test_part_max_pool(height, bands):
    x = drawn(2, height, 3, 5)
    expected = np.stack([x[:, start:end].max((1, 2)) for start, end in bands], axis=1)
    np.testing.assert_array_equal(layers.part_max_pool(x, 4), expected)


def test_means_of_parts():
    x = drawn(2, 8, 3, 5)
    expected = np.stack([x[:, start:end].mean((1, 2)) for start, end in ((0, 3), (2, 6), (5, 8))], axis=1)
    np.testing.assert_allclose(layers.part_pool(x, 3, layers.mean_pool), expected, rtol=1e-5, atol=1e-6)


def test_the_generalised_mean():
    x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    assert layers.gem_pool(x)[0, 0] == pytest.approx(2.080084, abs=1e-6)
    x = jnp.abs(drawn(2, 4, 3, 5))
    np.testing.assert_allclose(layers.gem_pool(x), (np.float64(x) ** 3).mean((1, 2)) ** (1 / 3), rtol=1e-5)
    assert np.isfinite(jax.grad(lambda x: layers.gem_pool(x).sum())(jnp.zeros((1, 2, 2, 3)))).all()


def test_cubes_of_bfloat16_maps_are_summed_in_float32():
    x = jnp.abs(drawn(1, 18, 9, 4, mean=5)).astype(jnp.bfloat16)
    pooled = layers.gem_pool(x)
    assert pooled.dtype == jnp.float32
    np.testing.assert_allclose(pooled, (np.float64(x) ** 3).mean((1, 2)) ** (1 / 3), rtol=1e-5)


def test_a_map_with_too_few_rows_for_its_parts_is_refused():
    message = (
        r"a feature map of 3 rows cannot be pooled into 4 body parts; set config\.image_size to a height 1\.33 times as"
    )
    with pytest.raises(ValueError, match=message):
        layers.part_max_pool(jnp.zeros((1, 3, 2, 1)), 4)


def test_statistics_of_bfloat16_maps_are_float32():
    """In bfloat16 the sums over a large map far from 0 would lose the signal; only the result is rounded."""
    x = drawn(1, 64, 32, 2, mean=20).astype(jnp.bfloat16)
    gain, bias = jnp.ones(2), jnp.zeros(2)
    for out, expected in (
        (layers.instance_norm(x), by_hand.instance_norm(x)),
        (LayerNorm().apply({"params": {"gain": gain, "bias": bias}}, x), by_hand.layer_norm(x, gain, bias)),
    ):
        assert out.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float64(out), expected, rtol=2**-7, atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (3, 5), (8, 4)])
def test_a_convolution_of_a_doubled_image(height, width):
    """Values and gradients are those of the plain convolution of the upsampled image; so are the parameters."""
    x = jax.random.normal(jax.random.key(0), (2, height, width, 3))
    target = jax.random.normal(jax.random.key(1), (2, 2 * height, 2 * width, 4))
    plain, doubling = layers.Conv(4, 5), layers.Conv(4, 5, doubles=True)
    params = plain.init(jax.random.key(2), layers.upsample(x))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, doubling.init(jax.random.key(2), x))

    def loss(apply, params, x):
        return jnp.sum(apply(params, x) * target)

    expected = jax.grad(loss, argnums=(1, 2))(lambda p, x: plain.apply(p, layers.upsample(x)), params, x)
    with jax.default_matmul_precision("highest"):
        np.testing.assert_allclose(doubling.apply(params, x), plain.apply(params, layers.upsample(x)), atol=1e-5)
        result = jax.grad(loss, argnums=(1, 2))(doubling.apply, params, x)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), result, expected)


def test_upsample_repeats_each_pixel():
    x = drawn(2, 3, 4, 2)
    np.testing.assert_array_equal(layers.upsample(x), np.kron(x, np.ones((1, 2, 2, 1), np.float32)))


def test_leaky_relu_has_slope_a_fifth():
    np.testing.assert_allclose(layers.leaky_relu(jnp.array([-2.0, 0.0, 3.0])), [-0.4, 0.0, 3.0], rtol=1e-6)


def test_initial_kernels_have_kaimings_deviation():
    kernel = np.asarray(layers.kaiming(KEY, (3, 3, 32, 64), jnp.float32))
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 32)), rel=0.02)
    kernel = np.asarray(layers.kaiming_fan_out(KEY, (3, 3, 32, 64), jnp.float32))
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.02)


def _dropped(x, axis_name=None, key=KEY):
    return Dropout(0.3, axis_name).apply({}, x, train=True, rngs={"dropout": key})


def test_dropout_is_keyed_on_the_position_in_the_global_batch():
    x = jnp.ones((12, 5))
    whole = _dropped(x)
    for devices in (2, 4):
        split = jax.jit(jax.vmap(lambda part: _dropped(part, "batch"), axis_name="batch"))
        parts = split(x.reshape(devices, -1, 5))
        np.testing.assert_array_equal(parts.reshape(12, 5), whole)
    assert len(np.unique(np.asarray(whole), axis=0)) > 6  # rows have different masks
    assert np.any(np.asarray(_dropped(x, key=jax.random.key(1))) != np.asarray(whole))


def test_dropout_keeps_the_expectation_and_does_nothing_outside_training():
    x = jnp.ones((500, 40))
    out = np.asarray(_dropped(x))
    np.testing.assert_allclose(np.unique(out), [0, 1 / 0.7], rtol=1e-6)
    assert np.mean(out == 0) == pytest.approx(0.3, abs=0.02)
    assert Dropout(0.3).apply({}, x, train=False) is x
    assert Dropout(0.0).apply({}, x, train=True) is x
