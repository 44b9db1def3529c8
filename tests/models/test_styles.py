"""cmPIG's style encoder, decoder and discriminator: narrow versions against NumPy, and their parameter counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.errors import UserError
from rgbir_jax.models.styles import PatchDiscriminator, StyledDecoder, StyleEncoder
from tests.models import numpy_layers as by_hand
from tests.models.drawn import KEY, drawn, drawn_like


def relu(x):
    return np.maximum(x, 0)


def upsampled(x):
    return x.repeat(2, axis=1).repeat(2, axis=2)


def test_style_encoder():
    x = drawn(2, 32, 16, 3)
    module = StyleEncoder(width=2, code=3)
    params = drawn_like(module, x)["params"]
    expected = relu(by_hand.conv(x, params["Conv_0"]))
    for i in range(1, 5):
        expected = relu(by_hand.conv(expected, params[f"Conv_{i}"], stride=2))
    assert expected.shape == (2, 2, 1, 8)
    expected = by_hand.dense(expected.mean((1, 2)), params["code"])
    np.testing.assert_allclose(jax.jit(module.apply)({"params": params}, x), expected, atol=1e-5)


def test_decoder_takes_the_shift_of_each_layer_before_its_scale():
    content, style = drawn(2, 4, 3, 4), drawn(2, 3)
    module = StyledDecoder(mlp=5)
    params = drawn_like(module, content, style)["params"]
    mlp = [params["mlp"][f"Dense_{i}"] for i in range(3)]
    numbers = by_hand.dense(relu(by_hand.dense(relu(by_hand.dense(style, mlp[0])), mlp[1])), mlp[2])
    assert numbers.shape == (2, 4 * 2 * 4)
    layers = iter(np.split(numbers[:, None, None], 4, axis=-1))

    def norm(x):
        shift, scale = np.split(next(layers), 2, axis=-1)
        return by_hand.adaptive_instance_norm(x, scale, shift)

    x = np.asarray(content, np.float64)
    for block in range(2):
        weights = params[f"ResidualBlock_{block}"]
        inner = relu(norm(by_hand.conv(x, weights["Conv_0"])))
        x = x + norm(by_hand.conv(inner, weights["Conv_1"]))
    norm_of_image = params["LayerNorm_0"]
    x = by_hand.conv(upsampled(x), params["Conv_0"])
    x = relu(by_hand.layer_norm(x, norm_of_image["gain"], norm_of_image["bias"]))
    expected = np.tanh(by_hand.conv(x, params["Conv_1"]))
    made = jax.jit(module.apply)({"params": params}, content, style)
    assert made.shape == (2, 8, 6, 3)
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_discriminator_has_its_own_network_per_scale():
    x = drawn(1, 48, 32, 3)
    module = PatchDiscriminator(width=2)
    params = drawn_like(module, x)["params"]
    maps = jax.jit(module.apply)({"params": params}, x)
    half = np.array([[
        x[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2].mean((1, 2)) for j in range(16)
    ] for i in range(24)]).transpose(2, 0, 1, 3)  # fmt: skip
    for scale, seen in enumerate((x, half)):
        expected = seen
        for i in range(4):
            expected = by_hand.leaky_relu(by_hand.conv(expected, params[f"scale_{scale}_{i}"], stride=2))
        expected = by_hand.conv(expected, params[f"scale_{scale}_4"])
        assert expected.shape[1:3] == ((3, 2), (1, 1))[scale]
        np.testing.assert_allclose(maps[scale], expected, atol=1e-5)
    assert len(maps) == 2


def count(module, *inputs) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(module.init, KEY, *inputs)))


def test_full_size_networks_have_the_published_parameters():
    x, content, style = (
        jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 128, 64, 3), (1, 64, 32, 256), (1, 128))
    )
    assert count(StyleEncoder(), x) == 709_824
    assert count(StyledDecoder(), content, style) == 625_152 + 3_198_723
    assert count(PatchDiscriminator(), x) == 1_380_802


def test_images_too_small_for_the_discriminator_are_refused():
    module = PatchDiscriminator(width=2)
    with pytest.raises(UserError, match="D has 2 scales, which need images of 32 pixels or more, and these are 32x16"):
        jax.eval_shape(module.init, KEY, jax.ShapeDtypeStruct((1, 32, 16, 3), jnp.float32))
