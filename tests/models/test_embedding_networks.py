from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.models.embedding import EmbeddingClassifier, EmbeddingDecoder, EmbeddingEncoder

RNG = np.random.default_rng(0)


def count(variables) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def shapes(module, *widths):
    inputs = [jax.ShapeDtypeStruct((3, width), jnp.float32) for width in widths]
    return jax.eval_shape(module.init_with_output, jax.random.key(0), *inputs)


def dense(*widths) -> int:
    return sum(before * after + after for before, after in pairwise(widths))


def test_encoders_have_the_widths_of_table_2():
    (m, s), variables = shapes(EmbeddingEncoder(), 512)
    assert m.shape == s.shape == (3, 64)
    assert count(variables) == 2 * dense(512, 1024, 2048, 512, 64) == 7_412_864


def test_decoder_has_the_widths_of_table_2():
    x, variables = shapes(EmbeddingDecoder(), 64, 64)
    assert x.shape == (3, 512)
    assert count(variables) == 2 * dense(64, 512, 2048, 512) == 4_265_984


def test_classifier_has_the_widths_of_table_2():
    (hidden, logits), variables = shapes(EmbeddingClassifier(395), 512)
    assert (hidden.shape, logits.shape) == ((3, 512), (3, 395))
    assert count(variables) == dense(512, 512, 395) == 465_291


def slow_mlp(params, x, rectify):
    layers = [params[f"Dense_{i}"] for i in range(len(params))]
    for i, layer in enumerate(layers):
        x = x @ np.asarray(layer["kernel"], float) + np.asarray(layer["bias"], float)
        if rectify or i < len(layers) - 1:
            x = np.maximum(x, 0)
    return x


def perturbed(variables):
    """Adds noise to all variables, so that no bias is 0."""
    keys = iter(jax.random.split(jax.random.key(5), len(jax.tree.leaves(variables))))
    return jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(next(keys), leaf.shape), variables)


def test_m_and_s_come_from_two_networks_with_a_relu_after_every_layer():
    module, x = EmbeddingEncoder((7, 6, 5), 4), jnp.asarray(RNG.normal(size=(9, 8)), jnp.float32)
    variables = perturbed(module.init(jax.random.key(0), x))
    for component, code in zip(("m", "s"), module.apply(variables, x), strict=True):
        expected = slow_mlp(variables["params"][component], np.asarray(x, float), rectify=True)
        np.testing.assert_allclose(code, expected, rtol=1e-5, atol=1e-5)
        assert code.min() == 0 < code.max()


@pytest.mark.parametrize("rectify", [False, True])
def test_the_decoded_embedding_is_a_sum(rectify):
    module = EmbeddingDecoder(6, (5, 7), rectify)
    m, s = jnp.asarray(RNG.normal(size=(2, 9, 4)), jnp.float32)
    variables = perturbed(module.init(jax.random.key(0), m, s))
    decoded = module.apply(variables, m, s)
    params = variables["params"]
    expected = slow_mlp(params["m"], np.asarray(m, float), rectify) + slow_mlp(
        params["s"], np.asarray(s, float), rectify
    )
    np.testing.assert_allclose(decoded, expected, rtol=1e-5, atol=1e-5)
    assert (decoded.min() >= 0) == rectify


def test_the_classifier_s_hidden_layer_is_rectified_and_its_logits_are_not():
    module, x = EmbeddingClassifier(5, 6), jnp.asarray(RNG.normal(size=(9, 8)), jnp.float32)
    variables = perturbed(module.init(jax.random.key(0), x))
    params = variables["params"]
    hidden, logits = module.apply(variables, x)
    expected = slow_mlp(params["hidden_layer"], np.asarray(x, float), rectify=True)
    np.testing.assert_allclose(hidden, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits, slow_mlp(params["classifier"], expected, rectify=False), rtol=1e-5, atol=1e-5)
    assert logits.min() < 0


@pytest.mark.parametrize(
    ("module", "widths"),
    [
        (EmbeddingEncoder((8, 8, 8), 4, jnp.bfloat16), (8,)),
        (EmbeddingDecoder(8, (8, 8), False, jnp.bfloat16), (4, 4)),
        (EmbeddingClassifier(5, 8, jnp.bfloat16), (8,)),
    ],
)
def test_parameters_and_outputs_are_float32(module, widths):
    outputs, variables = shapes(module, *widths)
    assert {leaf.dtype for leaf in jax.tree.leaves((outputs, variables))} == {jnp.dtype("float32")}
