"""DEEN's modules: sizes, and their computation by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.models.deen import Aggregation, ExpandedBody, Expansion
from rgbir_jax.models.resnet import STAGES, ResNet50
from tests.models.drawn import KEY, drawn, drawn_like


def count(module, *shapes, **mode) -> int:
    specs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    variables = jax.eval_shape(lambda *x: module.init(KEY, *x, **mode), *specs)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("x", "before", "parameters"),
    [
        ((1, 24, 9, 256), (1, 24, 9, 64), 63_264),
        ((1, 12, 5, 512), (1, 24, 9, 256), 594_048),
        ((1, 6, 3, 1024), (1, 12, 5, 512), 2_367_744),
    ],
)
def test_sizes_of_the_aggregations(x, before, parameters):
    assert count(Aggregation(), x, before, train=False) == parameters


def aggregation_by_hand(x, before, variables):
    """Computes the attention of channels, then that of positions, with each matrix A as it is written."""

    def conv(x, layer, stride=1):
        return x[:, ::stride, ::stride] @ np.float64(layer["kernel"])[0, 0] + np.float64(layer["bias"])

    def rows(x):
        return x.reshape(len(x), -1, x.shape[-1])

    x, before = np.float64(x), np.float64(before)
    for kind in ("channels", "positions"):
        layers = variables["params"][kind]
        stride = 2 if kind == "channels" and x.shape[1:3] != before.shape[1:3] else 1
        theta, phi = rows(conv(x, layers["theta"])), rows(conv(before, layers["phi"], stride))
        g = rows(conv(before, layers["g"]))
        if kind == "channels":
            A = theta.swapaxes(1, 2) @ phi / phi.shape[2]
            y = (A @ g.swapaxes(1, 2)).swapaxes(1, 2).reshape(before.shape)
        else:
            A = theta @ phi.swapaxes(1, 2) / phi.shape[1]
            y = (A @ g).reshape(*x.shape[:3], -1)
        y = conv(y, layers["W"], stride)
        y = (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + 1e-5)
        x = x + y * np.float64(layers["norm"]["scale"]) + np.float64(layers["norm"]["bias"])
    return x


@pytest.mark.parametrize(
    ("x", "before"),
    [((2, 6, 4, 8), (2, 6, 4, 6)), ((2, 4, 3, 8), (2, 8, 5, 4))],  # as after stage 1, and after others
)
def test_an_aggregation_by_hand(x, before):
    x, before = drawn(*x), drawn(*before)
    module = Aggregation()
    variables = drawn_like(module, x, before, train=False)
    merged, _ = module.apply(variables, x, before, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(merged, aggregation_by_hand(x, before, variables), rtol=1e-4, atol=1e-4)


def test_sizes_of_the_expansions():
    assert 2 * count(Expansion(), (1, 6, 3, 1024)) == 14_682_112


def test_an_expansion_by_hand():
    x = drawn(2, 5, 4, 8)
    module = Expansion()
    params = drawn_like(module, x)["params"]
    mean = np.zeros((2, 5, 4, 2))
    for dilation in (1, 2, 3):
        kernel = np.asarray(params[f"dilated_{dilation}"]["kernel"], np.float64)
        assert set(params[f"dilated_{dilation}"]) == {"kernel"}
        padded = np.pad(np.asarray(x, np.float64), ((0, 0), (dilation, dilation), (dilation, dilation), (0, 0)))
        for i, j, row, column in np.ndindex(5, 4, 3, 3):
            mean[:, i, j] += padded[:, i + row * dilation, j + column * dilation] @ kernel[row, column] / 3
    out = np.maximum(mean, 0) @ np.asarray(params["out"]["kernel"], np.float64)[0, 0] + params["out"]["bias"]
    np.testing.assert_allclose(module.apply({"params": params}, x), out, atol=1e-5)


def test_a_body_without_attention_and_expansions_is_the_resnet():
    """Fresh aggregations are the identity; expansions whose last layer is 0 are 0, and so are the maps they give."""
    x = drawn(2, 16, 8, 2)
    trunk = ResNet50(2, (1, 1, 1, 1), stages=STAGES[1:])
    body = ExpandedBody(trunk)
    variables = drawn_like(body, x, train=False)
    params = dict(variables["params"])
    for stage in (1, 2, 3):
        for kind in ("channels", "positions"):
            norm = params[f"aggregation_{stage}"][kind]["norm"]
            norm.update({"scale": np.zeros_like(norm["scale"]), "bias": np.zeros_like(norm["bias"])})
    for i in range(2):
        params[f"expansion_{i}"]["out"] = jax.tree.map(np.zeros_like, params[f"expansion_{i}"]["out"])
    own = {kind: variables[kind]["trunk"] for kind in ("params", "batch_stats")}

    @jax.jit
    def compute(variables, own, x):
        feature_map = body.apply(variables, x, train=False, method="feature_map")
        pooled = body.apply(variables, x, train=False)
        whole = trunk.apply(own, x, train=False)
        third = trunk.apply(own, x, False, (1, 2, 3))
        return feature_map, pooled, whole, trunk.apply(own, jnp.zeros_like(third), False, (4,))

    feature_map, pooled, whole, of_zeros = compute(variables | {"params": params}, own, x)
    assert feature_map.shape == (*whole.shape[:3], 3 * 64)
    for part, expected in enumerate((whole, of_zeros, of_zeros)):
        np.testing.assert_allclose(feature_map[..., 64 * part : 64 * (part + 1)], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(pooled[:, part], np.mean(expected, (1, 2)), rtol=1e-5, atol=1e-5)
    assert np.abs(whole - of_zeros).max() > 0.1
