"""Narrow versions of whole networks against NumPy; slices of the codes; BatchNorm; bfloat16."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.models.appearance_encoder import AppearanceEncoder
from rgbir_jax.models.discriminator import Discriminator
from rgbir_jax.models.generator import Generator
from rgbir_jax.models.identity_encoder import IdentityEncoder
from rgbir_jax.models.identity_head import IdentityHead
from rgbir_jax.models.resnet import ResNet18, ResNet50
from rgbir_jax.models.structure_encoder import StructureEncoder, contours
from tests.models import numpy_layers as by_hand
from tests.models.drawn import KEY, drawn, drawn_like


def test_structure_encoder_with_its_dilated_branches():
    grey = drawn(1, 48, 32, 1)
    module = StructureEncoder(width=2, code=4)
    params = drawn_like(module, grey)["params"]

    def normalised(x, i, **how):
        return by_hand.instance_norm(by_hand.conv(x, params[f"Conv_{i}"], **how))

    def activated(x, i, **how):
        return by_hand.leaky_relu(normalised(x, i, **how))

    x = grey
    for i, stride in enumerate((2, 1, 1, 2)):
        x = activated(x, i, stride=stride)
    for i in range(4):
        x = by_hand.residual_block(x, params[f"ResidualBlock_{i}"])
    pyramid = [normalised(x, 4)]  # the last convolution of each branch has no activation
    for i, dilation in ((5, 3), (7, 6), (9, 9)):
        pyramid.append(normalised(activated(x, i), i + 1, dilation=dilation))
    expected = by_hand.instance_norm(by_hand.conv(np.concatenate(pyramid, -1), params["Conv_11"]))
    s = jax.jit(module.apply)({"params": params}, grey)
    np.testing.assert_allclose(s, expected, atol=1e-5)
    assert len(params) == 16


def test_generator_takes_one_slice_per_block():
    width, slices = 4, 2
    s, a = drawn(2, 3, 4, width), drawn(2, slices, 5)
    module = Generator(width=width, mlp=6)
    params = drawn_like(module, a, s)["params"]

    x = np.asarray(s, np.float64)
    for i in range(slices):
        scale = by_hand.mlp(a[:, i], params[f"scale_{i}"])[:, None, None]
        bias = by_hand.mlp(a[:, i], params[f"bias_{i}"])[:, None, None]
        adains = [
            partial(by_hand.adaptive_instance_norm, scale=scale[..., half], bias=bias[..., half])
            for half in (slice(width), slice(width, None))
        ]
        x = by_hand.residual_block(x, params[f"ResidualBlock_{i}"], adains)
    for i in range(2):
        x = by_hand.conv(x.repeat(2, 1).repeat(2, 2), params[f"Conv_{i}"])
        x = by_hand.leaky_relu(by_hand.layer_norm(x, **params[f"LayerNorm_{i}"]))
    for i in (2, 3):
        x = by_hand.leaky_relu(by_hand.conv(x, params[f"Conv_{i}"]))
    images = jax.jit(module.apply)({"params": params}, a, s)
    np.testing.assert_allclose(images, by_hand.conv(x, params["Conv_4"]), atol=1e-3)


def test_discriminator_has_its_own_network_per_scale():
    x = drawn(1, 20, 12, 3)
    module = Discriminator(width=2, num_scales=2)
    params = drawn_like(module, x)["params"]

    def scale(x, params):
        for i, stride in enumerate((1, 1, 2, 1, 2)):
            x = by_hand.leaky_relu(by_hand.conv(x, params[f"Conv_{i}"], stride))
        for i in range(4):
            x = by_hand.residual_block(x, params[f"ResidualBlock_{i}"], (lambda x: x, lambda x: x))
        return by_hand.conv(x, params["Conv_5"])

    half = np.zeros((1, 10, 6, 3))
    for i, j in np.ndindex(10, 6):
        half[:, i, j] = np.mean(x[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2], axis=(1, 2))
    maps = jax.jit(module.apply)({"params": params}, x)
    for logits, image, name in zip(maps, (x, half), ("scale_0", "scale_1"), strict=True):
        np.testing.assert_allclose(logits, scale(image, params[name]), rtol=1e-3, atol=1e-4)


def test_discriminator_begins_with_small_kernels():
    init = jax.jit(lambda x: Discriminator().init(KEY, x)["params"]["scale_0"]["ResidualBlock_0"]["Conv_0"]["conv"])
    layer = init(jnp.zeros((1, 16, 8, 3)))
    assert np.std(layer["kernel"]) == pytest.approx(0.02, rel=0.03)
    assert not np.any(layer["bias"])


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_slices_of_the_appearance_code_and_what_the_heads_see(pool):
    """Computes both from the trunk's map by plain loops. Its five rows are not divisible by four parts."""
    x = drawn(2, 80, 32, 3)
    part, channel = (AppearanceEncoder(ResNet50(1, (1, 1, 1, 1)), slices, pool) for slices in ("part", "channel"))
    variables = drawn_like(part, x, train=False)

    @jax.jit
    def encode(variables, x):
        (by_part, pooled), captured = part.apply(variables, x, train=False, capture_intermediates=True)
        by_channel, _ = channel.apply(variables, x, train=False)
        return by_part, by_channel, pooled, captured["intermediates"]["trunk"]["__call__"][0]

    by_part, by_channel, pooled, trunk = map(np.asarray, encode(variables, x))
    assert trunk.shape == (2, 5, 2, 32)
    for n in range(2):
        flat = []
        for c in range(32):
            pixels = [float(trunk[n, i, j, c]) for i in range(5) for j in range(2)]
            whole = {"max": max(pixels), "avg": sum(pixels) / 10}[pool]
            assert pooled[n, c] == pytest.approx(whole, rel=1e-5, abs=1e-6)
            for i, (start, end) in enumerate([(0, 2), (1, 3), (2, 4), (3, 5)]):
                flat.append(trunk[n, start:end, :, c].max())
                assert by_part[n, i, c] == flat[-1]
        # Channel-major: all four parts of channel 0, then of channel 1, and so on; then split into four slices.
        np.testing.assert_array_equal(by_channel[n], np.reshape(flat, (4, 32)))
    np.testing.assert_array_equal(by_channel[:, 1, :4], by_part[:, :, 8])  # slice 1 begins with channel 32 / 4


def _batch_normalised(x, mean, variance, layer):
    return (x - mean) / np.sqrt(variance + 1e-5) * layer["scale"] + layer["bias"]


def _convolved(x, kernel, stride):
    """Pads with zeros, then convolves, one output pixel at a time."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    side = len(kernel)
    pad = side // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    out = np.zeros((len(x), -(-x.shape[1] // stride), -(-x.shape[2] // stride), kernel.shape[-1]))
    for i, j in np.ndindex(out.shape[1:3]):
        window = padded[:, i * stride : i * stride + side, j * stride : j * stride + side]
        out[:, i, j] = np.einsum("nijc,ijco->no", window, kernel)
    return out


def _resnet18(x, variables):
    """Computes a ResNet-18 with one block per stage, with running statistics."""
    params, stats = variables["params"], variables["batch_stats"]

    def layer(x, conv, norm, stride):
        x = _convolved(x, params[conv]["kernel"], stride)
        return _batch_normalised(x, np.asarray(stats[norm]["mean"]), np.asarray(stats[norm]["var"]), params[norm])

    x = np.maximum(layer(x, "conv1", "bn1", 2), 0)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    height, width = -(-x.shape[1] // 2), -(-x.shape[2] // 2)
    x = np.stack(
        [
            np.stack([padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2)) for j in range(width)], axis=1)
            for i in range(height)
        ],
        axis=1,
    )
    for stage, stride in enumerate((1, 2, 2, 1)):
        name = f"layer{stage + 1}_0"
        y = np.maximum(layer(x, f"{name}_conv1", f"{name}_bn1", stride), 0)
        y = layer(y, f"{name}_conv2", f"{name}_bn2", 1)
        if stage > 0:  # the first stage keeps size and channels, so nothing is projected
            x = layer(x, f"{name}_downsample_0", f"{name}_downsample_1", stride)
        x = np.maximum(x + y, 0)
    return x


def test_identity_encoder_of_the_structure_code():
    s = drawn(2, 16, 8, 5)
    module = IdentityEncoder(ResNet18(2, (1, 1, 1, 1)), hidden=4)
    variables = drawn_like(module, s, train=False)
    params, stats = variables["params"], variables["batch_stats"]
    x = by_hand.conv(by_hand.leaky_relu(by_hand.conv(s, params["Conv_0"])), params["Conv_1"])
    assert x.shape == (2, 16, 8, 3)
    expected = _resnet18(x, {"params": params["trunk"], "batch_stats": stats["trunk"]}).mean((1, 2))
    pooled = jax.jit(partial(module.apply, train=False))(variables, s)
    assert pooled.shape == (2, 16)
    assert "layer1_0_downsample_0" not in params["trunk"]
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_of_the_head():
    pooled = 3 + drawn(6, 5)
    module = IdentityHead(classes=4, bottleneck=3, dropout=0.0)
    variables = drawn_like(module, pooled, train=False)
    params, stats = variables["params"], variables["batch_stats"]
    x = by_hand.dense(pooled, params["bottleneck_layer"])
    mean, variance = x.mean(0), x.var(0)

    (features, logits), updated = module.apply(variables, pooled, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(features, _batch_normalised(x, mean, variance, params["norm"]), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits, by_hand.dense(features, params["classifier"]), rtol=1e-5, atol=1e-5)
    running = updated["batch_stats"]["norm"]
    np.testing.assert_allclose(running["mean"], 0.9 * stats["norm"]["mean"] + 0.1 * mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(running["var"], 0.9 * stats["norm"]["var"] + 0.1 * variance, rtol=1e-4)

    features, _ = module.apply(variables, pooled, train=False)
    expected = _batch_normalised(x, np.asarray(stats["norm"]["mean"]), np.asarray(stats["norm"]["var"]), params["norm"])
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)


def test_batch_norm_of_the_trunk_counts_every_pixel():
    x = drawn(2, 32, 16, 3)
    module = ResNet50(width=2, blocks=(1, 1, 1, 1))
    variables = drawn_like(module, x, train=False)

    @jax.jit
    def train(x):
        _, captured = module.apply(variables, x, train=True, mutable=["batch_stats"], capture_intermediates=True)
        layers = captured["intermediates"]
        return layers["conv1"]["__call__"][0], layers["bn1"]["__call__"][0], captured["batch_stats"]["bn1"]

    convolved, normalised, running = train(x)
    convolved, layer, before = np.float64(convolved), variables["params"]["bn1"], variables["batch_stats"]["bn1"]
    mean, variance = convolved.mean((0, 1, 2)), convolved.var((0, 1, 2))
    np.testing.assert_allclose(normalised, _batch_normalised(convolved, mean, variance, layer), atol=1e-4)
    np.testing.assert_allclose(running["mean"], 0.9 * before["mean"] + 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(running["var"], 0.9 * before["var"] + 0.1 * variance, rtol=1e-4)


def test_batch_norm_averages_over_devices():
    pooled = drawn(8, 5)
    variables = drawn_like(IdentityHead(4, 3), pooled, train=False)

    def features(pooled, axis_name):
        head = IdentityHead(4, 3, dropout=0.0, axis_name=axis_name)
        (features, _), updated = head.apply(variables, pooled, train=True, mutable=["batch_stats"])
        return features, updated

    whole, updated = features(pooled, None)
    parts, updates = jax.vmap(lambda part: features(part, "batch"), axis_name="batch")(pooled.reshape(4, 2, 5))
    np.testing.assert_allclose(parts.reshape(8, 3), whole, atol=1e-5)
    for single, several in zip(jax.tree.leaves(updated), jax.tree.leaves(updates), strict=True):
        np.testing.assert_allclose(several, np.tile(single, (4, 1)), rtol=1e-5, atol=1e-6)


GREY, IMAGE = (2, 64, 32, 1), (2, 64, 32, 3)


@pytest.mark.parametrize(
    ("module", "shapes"),
    [
        (StructureEncoder, [GREY]),
        (Generator, [(2, 4, 2048), (2, 16, 8, 128)]),
        (Discriminator, [IMAGE]),
        (AppearanceEncoder, [IMAGE]),
        (IdentityHead, [(2, 2048)]),
        (IdentityEncoder, [(2, 16, 8, 128)]),
    ],
)
def test_only_the_computation_is_in_bfloat16(module, shapes):
    """Parameters, statistics and outputs stay float32; every convolution and matrix product returns bfloat16."""
    has_train_mode = module in (AppearanceEncoder, IdentityHead, IdentityEncoder)
    if module is AppearanceEncoder:
        network = module(ResNet50(dtype=jnp.bfloat16))
    elif module is IdentityEncoder:
        network = module(ResNet18(dtype=jnp.bfloat16), dtype=jnp.bfloat16)
    else:
        network = module(**{"classes": 5} if module is IdentityHead else {}, dtype=jnp.bfloat16)

    def forward(*inputs):
        mode = {"train": False} if has_train_mode else {}
        return network.init_with_output(KEY, *inputs, **mode, capture_intermediates=True)

    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    outputs, variables = jax.eval_shape(forward, *inputs)
    intermediates = jax.tree_util.tree_leaves_with_path(variables.pop("intermediates"))
    modules = [(path[-3].key if len(path) > 2 else "", leaf.dtype) for path, leaf in intermediates]
    computed = [dtype for name, dtype in modules if re.search("[cC]onv|Dense|downsample_0|bottleneck|classifier", name)]
    assert set(computed) == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves((outputs, variables))} == {jnp.dtype(jnp.float32)}


def test_contours_do_not_know_what_is_light():
    """Tones that are shifted, exchanged or spread out have the same contours, and a flat image has none."""
    tones = jax.random.uniform(jax.random.key(0), (2, 8, 4, 1))
    image = jax.image.resize(tones, (2, 32, 16, 1), "nearest") * 4 - 2
    seen = contours(image)
    np.testing.assert_allclose(contours(1 - image), seen, rtol=1e-5)
    np.testing.assert_allclose(contours(3 * image), seen, rtol=0.25, atol=0.05)
    assert 0.5 < float(seen.mean()) < 1.5
    flat = jnp.full((1, 8, 8, 1), 1.5)
    assert float(contours(flat).max()) < 0.02
    assert np.isfinite(jax.grad(lambda x: contours(x).sum())(flat)).all()


def test_a_contour_is_where_the_tone_changes():
    step = jnp.where(jnp.arange(16) < 8, -1.0, 1.0)
    seen = np.asarray(contours(jnp.broadcast_to(step[None, None, :, None], (1, 16, 16, 1))))[0, :, :, 0]
    assert (seen[:, 7:9] > 1).all()
    np.testing.assert_allclose(seen[:, 7], seen[:, 8], rtol=1e-5)
    assert (np.delete(seen, (7, 8), axis=1) < 0.02).all()
