"""Hi-CMD's networks: numbers of parameters at full size, the slots of attributes, the head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.models.attributes import Attributes
from rgbir_jax.models.hierarchical_head import HierarchicalHead, Mixture, direction
from tests.models.drawn import drawn, drawn_like


def test_slots_of_the_attribute_code():
    """Every slice of 512 channels: 256 of the identity, 128 of the pose, 128 of the illumination."""
    code = np.arange(2 * 2048, dtype=np.float32).reshape(2, 2048)
    attributes = Attributes.of(jnp.asarray(code))
    for k in range(4):
        begin = 512 * k
        np.testing.assert_array_equal(attributes.identity[:, k], code[:, begin : begin + 256])
        np.testing.assert_array_equal(attributes.pose[:, k], code[:, begin + 256 : begin + 384])
        np.testing.assert_array_equal(attributes.illumination[:, k], code[:, begin + 384 : begin + 512])
        np.testing.assert_array_equal(attributes.slices[:, k], code[:, begin : begin + 512])
    assert attributes.t.shape == attributes.e.shape == (2, 1024)
    rows = {tuple(np.sort(np.concatenate([t, e]))) for t, e in zip(attributes.t, attributes.e, strict=True)}
    assert rows == set(map(tuple, code))


def test_prototypes_and_attributes_are_joined_by_a_learnt_weight():
    p, t = jnp.array([[3.0, 4.0]]), jnp.array([[0.0, 2.0]])
    for w, joined in ((0.5, [0.3, 0.4, 0.0, 0.5]), (0.2, [0.12, 0.16, 0.0, 0.8]), (1.0, [0.6, 0.8, 0.0, 0.0])):
        z = Mixture().apply({"params": {"w": jnp.float32(w)}}, p, t)
        np.testing.assert_allclose(z, [joined], rtol=1e-6)
    assert Mixture().init(jax.random.key(0), p, t)["params"]["w"] == 0.5


def test_a_vector_of_zeros_has_no_direction_and_no_gradient():
    x = jnp.zeros((1, 3))
    assert not direction(x).any()
    assert not jax.grad(lambda x: direction(x).sum())(x).any()


@pytest.mark.parametrize("train", [True, False])
def test_the_head_by_hand(train):
    z = 2 + drawn(6, 5)
    head = HierarchicalHead(classes=4, bottleneck=3, triplet=2, dropout=0.0)
    variables = drawn_like(head, z, train=False)
    params, stats = jax.tree.map(np.float64, (variables["params"], variables["batch_stats"]["norm"]))

    def linear(x, layer):
        return x @ params[layer]["kernel"] + params[layer]["bias"]

    x = linear(np.float64(z), "bottleneck_layer")
    mean, var = (x.mean(0), x.var(0)) if train else (stats["mean"], stats["var"])
    f = (x - mean) / np.sqrt(var + 1e-5) * params["norm"]["scale"] + params["norm"]["bias"]
    compared = linear(f, "triplet_layer")
    compared /= np.linalg.norm(compared, axis=1, keepdims=True)
    outputs, _ = head.apply(variables, z, train=train, mutable=["batch_stats"])
    for value, expected in zip(outputs, (f, linear(f, "classifier"), compared), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_dropout_lies_between_f_and_both_layers():
    z = drawn(8, 5)
    head = HierarchicalHead(classes=4, bottleneck=3, triplet=2, dropout=0.9)
    variables = drawn_like(head, z, train=False)
    without, with_dropout = (
        head.clone(dropout=rate).apply(
            variables, z, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)}
        )[0]
        for rate in (0.0, 0.9)
    )
    changed = [not np.allclose(*outputs) for outputs in zip(without, with_dropout, strict=True)]
    assert changed == [False, True, True]
