"""ResNet-50 in pieces: their sizes, what they make together, and the non-local blocks between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.errors import UserError
from rgbir_jax.models.bn_neck import BNNeck
from rgbir_jax.models.non_local import NonLocal
from rgbir_jax.models.resnet import ResNet50
from tests.models.drawn import KEY, drawn, drawn_like

NARROW = {"width": 2, "blocks": (1, 2, 1, 1)}


def shapes(module, *inputs):
    """Returns (output, variables) of a module for inputs of these shapes, as shapes."""
    specs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs]
    return jax.eval_shape(lambda *x: module.init_with_output(KEY, *x, train=False), *specs)


def count(variables) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("stages", "inputs", "parameters", "output"),
    [
        ((0,), (1, 256, 128, 3), 9_536, (1, 64, 32, 64)),
        ((0,), (1, 256, 128, 2), 6_400, (1, 64, 32, 64)),
        ((1,), (1, 64, 32, 64), 215_808, (1, 64, 32, 256)),
        ((2,), (1, 64, 32, 256), 1_219_584, (1, 32, 16, 512)),
        ((3,), (1, 32, 16, 512), 7_098_368, (1, 16, 8, 1024)),
        ((4,), (1, 16, 8, 1024), 14_964_736, (1, 16, 8, 2048)),
        ((1, 2, 3, 4), (1, 64, 32, 64), 23_498_496, (1, 16, 8, 2048)),
        ((0, 1, 2, 3, 4), (1, 256, 128, 3), 23_508_032, (1, 16, 8, 2048)),
    ],
)
def test_sizes_of_the_pieces(stages, inputs, parameters, output):
    feature_map, variables = shapes(ResNet50(stages=stages), inputs)
    assert (count(variables), feature_map.shape) == (parameters, output)


def test_the_last_stride_of_the_original():
    feature_map, variables = shapes(ResNet50(last_stride=2), (1, 256, 128, 3))
    assert (count(variables), feature_map.shape) == (23_508_032, (1, 8, 4, 2048))


def test_pieces_make_the_whole_bit_for_bit():
    """They do exactly the same operations, one after the other, with the whole's variables of their names."""
    x = jax.ShapeDtypeStruct((2, 64, 32, 3), jnp.float32)
    whole = ResNet50(**NARROW)
    variables = jax.eval_shape(lambda x: whole.init(KEY, x, train=False), x)

    def at_once(variables, x):
        return whole.apply(variables, x, train=True, mutable=["batch_stats"])

    def in_pieces(variables, x):
        statistics = {}
        for stages in ((0, 1), (2,), (3, 4)):
            piece = ResNet50(**NARROW, stages=stages)
            names = jax.eval_shape(lambda x, piece=piece: piece.init(KEY, x, train=False), x)
            own = {kind: {name: variables[kind][name] for name in modules} for kind, modules in names.items()}
            x, updated = piece.apply(own, x, train=True, mutable=["batch_stats"])
            statistics |= updated["batch_stats"]
        return x, {"batch_stats": statistics}

    def stage_by_stage(variables, x):
        def steps(trunk, x):
            for stage in range(5):
                x = trunk(x, True, (stage,))
            return x

        return whole.apply(variables, x, method=steps, mutable=["batch_stats"])

    one, *others = (
        str(jax.make_jaxpr(function, return_shape=True)(variables, x))
        for function in (at_once, in_pieces, stage_by_stage)
    )
    assert "conv_general_dilated" in one
    assert others == [one, one]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"last_stride": 3}, "last_stride is 3; set it to 1 or 2"),
        ({"non_local": (1, 1)}, r"set non_local to as many numbers, not \(1, 1\)"),
    ],
)
def test_what_no_resnet_has_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        shapes(ResNet50(**changes), (1, 32, 16, 3))


@pytest.mark.parametrize(("width", "parameters"), [(1, 2 * 3_587 + 3 * 7_171), (0, 7_358_464)])
def test_sizes_of_agw_s_non_local_blocks(width, parameters):
    body = ResNet50(stages=(2, 3), non_local=(0, 2, 3, 0), non_local_width=width)
    _, variables = shapes(body, (1, 72, 36, 256))
    blocks = {name: tree for name, tree in variables["params"].items() if name.endswith("_non_local")}
    assert set(blocks) == {f"layer{name}_non_local" for name in ("2_2", "2_3", "3_3", "3_4", "3_5")}
    assert sum(leaf.size for leaf in jax.tree.leaves(blocks)) == parameters
    assert count(variables) == 1_219_584 + 7_098_368 + parameters


def test_a_trunk_with_fresh_non_local_blocks_is_the_one_without():
    x = drawn(2, 4, 2, 8)
    attentive = ResNet50(**NARROW, stages=(2,), non_local=(0, 2, 0, 0))
    variables = drawn_like(attentive, x, train=False)
    blocks = [name for name in variables["params"] if "non_local" in name]
    assert blocks == ["layer2_0_non_local", "layer2_1_non_local"]
    fresh = jax.jit(NonLocal(width=1).init, static_argnames="train")(KEY, x, x, train=False)["params"]["norm"]
    for name in blocks:
        variables["params"][name]["norm"] = {leaf: jnp.zeros(16) for leaf in fresh if not np.any(fresh[leaf])}
    without = {
        kind: {name: tree for name, tree in modules.items() if name not in blocks}
        for kind, modules in variables.items()
    }
    plain = ResNet50(**NARROW, stages=(2,))
    np.testing.assert_array_equal(attentive.apply(variables, x, train=False), plain.apply(without, x, train=False))


def non_local_by_hand(x, source, variables, of_channels):
    """Computes the block one product at a time, in the order of its definition; the larger map has twice the side."""

    def conv(x, name, stride=1):
        layer = variables["params"][name]
        x = x[::stride, ::stride]
        return np.einsum("hwc,cd->hwd", x, np.asarray(layer["kernel"], np.float64)[0, 0]) + layer["bias"]

    results = []
    for own, other in zip(np.asarray(x, np.float64), np.asarray(source, np.float64), strict=True):
        stride = 2 if of_channels and own.shape[:2] != other.shape[:2] else 1
        theta, phi, g = conv(own, "theta"), conv(other, "phi", stride), conv(other, "g")
        width = theta.shape[-1]
        theta, phi, values = (y.reshape(-1, width) for y in (theta, phi, g))
        if of_channels:
            attention = theta.T @ phi / width
            y = (attention @ values.T).T.reshape(*other.shape[:2], width)
        else:
            attention = theta @ phi.T / len(phi)
            y = (attention @ values).reshape(*own.shape[:2], width)
        norm, stats = variables["params"]["norm"], variables["batch_stats"]["norm"]
        y = (conv(y, "W", stride) - stats["mean"]) / np.sqrt(np.asarray(stats["var"], float) + 1e-5)
        results.append(own + y * norm["scale"] + norm["bias"])
    return np.stack(results)


@pytest.mark.parametrize(("of_channels", "source"), [(False, (2, 4, 6, 5)), (True, (2, 4, 6, 5)), (True, (2, 2, 3, 5))])
def test_attention_to_another_map(of_channels, source):
    x, source = drawn(2, 2, 3, 4), drawn(*source)
    block = NonLocal(width=3, of_channels=of_channels)
    variables = drawn_like(block, x, source, train=False)
    expected = non_local_by_hand(x, source, variables, of_channels)
    assert np.abs(expected - x).max() > 0.05
    np.testing.assert_allclose(block.apply(variables, x, source, train=False), expected, atol=1e-5)


def test_a_non_local_block_computed_by_hand():
    """Positions (1, 2) and (3, −1): θ = 1, 3; φ = 2, −1; g = 3, 2; so y = 2, 6, which W gives to channel 0."""
    kernels = {"theta": [[1.0], [0]], "phi": [[0.0], [1]], "g": [[1.0], [1]], "W": [[1.0, 0]]}
    params = {
        name: {"kernel": jnp.array([[kernel]]), "bias": jnp.zeros(len(kernel[0]))} for name, kernel in kernels.items()
    }
    params["norm"] = {"scale": jnp.ones(2), "bias": jnp.zeros(2)}
    stats = {"norm": {"mean": jnp.zeros(2), "var": jnp.ones(2) - 1e-5}}
    x = jnp.array([[[[1.0, 2], [3, -1]]]])
    out = NonLocal(width=1).apply({"params": params, "batch_stats": stats}, x, x, train=False)
    np.testing.assert_allclose(out - x, [[[[2, 0], [6, 0]]]], rtol=1e-5)


def test_the_bn_neck_computed_by_hand():
    pooled = drawn(6, 5)
    neck = BNNeck(classes=3)
    variables = drawn_like(neck, pooled, train=False)
    assert set(variables["params"]["norm"]) == {"scale"}
    assert set(variables["params"]["classifier"]) == {"kernel"}
    (features, logits), _ = neck.apply(variables, pooled, train=True, mutable=["batch_stats"])
    x = np.asarray(pooled, np.float64)
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * variables["params"]["norm"]["scale"]
    np.testing.assert_allclose(features, x, atol=1e-5)
    np.testing.assert_allclose(logits, x @ variables["params"]["classifier"]["kernel"], atol=1e-5)


@pytest.mark.parametrize("gain_std", [0.01, 0.0])
def test_a_fresh_bn_neck(gain_std):
    init = jax.jit(BNNeck(classes=395, gain_std=gain_std).init, static_argnames="train")
    variables = init(KEY, jnp.zeros((2, 2048)), train=False)
    assert count(variables) == 2048 + 808_960
    gain, kernel = variables["params"]["norm"]["scale"], variables["params"]["classifier"]["kernel"]
    assert np.mean(gain) == pytest.approx(1, abs=0.001)
    assert np.std(gain) == pytest.approx(gain_std, rel=0.1)
    assert np.std(kernel) == pytest.approx(0.001, rel=0.02)
