"""The mean over parts equals the mean over the batch, and an iteration in parts averages over the parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from rgbir_jax import stages
from rgbir_jax.stages.image import ImageSystem
from rgbir_jax.stages.views import views
from rgbir_jax.training import parallel
from rgbir_jax.training.descent import accumulate, descend
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.state import State
from tests.tiny import drawn_batch, tiny_config

KEY = jax.random.key(0)
CLASSES = 4


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_the_mean_over_parts_is_that_of_the_batch(parts):
    x, w = np.random.default_rng(0).normal(size=(2, 6, 3))

    def gradient(carry, part, key):
        del key
        return jax.grad(lambda w: jnp.mean(jnp.sin(part["x"] * w)))(w), carry + len(part["x"])

    w = jnp.asarray(w[0])
    actual, carry = jax.jit(lambda x: accumulate(gradient, 0, {"x": x}, KEY, parts))(x)
    np.testing.assert_allclose(actual, np.mean(x * np.cos(x * w), axis=0) / 3, rtol=1e-5)
    assert carry == 6


def test_parts_come_in_order_and_each_has_its_own_key():
    def draw(carry, part, key):
        return jax.random.uniform(key), carry * 10 + part[0]

    mean, carry = accumulate(draw, jnp.int32(0), jnp.arange(1, 4), KEY, 3)
    assert carry == 123
    draws = [jax.random.uniform(key) for key in jax.random.split(KEY, 3)]
    assert mean == pytest.approx(np.mean(draws))
    assert len(set(map(float, draws))) == 3


def test_parts_that_do_not_divide_the_identities_are_named():
    with pytest.raises(ValueError, match="the 4 identities of a device cannot be split into 3 parts; set config"):
        accumulate(lambda carry, part, key: (part, carry), 0, jnp.zeros(4), KEY, 3)


@pytest.mark.parametrize("parts", [1, 2])
def test_an_iteration_reports_the_gradient_norm_of_each_network(parts):
    """The gradient is averaged over devices and parts. Its norm is NaN if the network is, even if the loss is not."""
    group = {"networks": ("E", "D"), "kind": "sgd", "learning_rate": 0.1, "momentum": 0.0, "l2": 0.0, "clip": 0.0}
    decay = ConfigDict({"at": (), "factor": 0.1, "warmup": 0})
    optimizers = Optimizers(ConfigDict({"all": group}), decay, ("E", "D"))

    def loss(params, batch_stats, x, key):
        del key
        dropped = jnp.nan_to_num(params["D"]["w"] * jnp.mean(x))  # like a maximum that drops NaN
        value = params["E"]["w"] @ jnp.mean(x, axis=0) + params["E"]["b"] + dropped
        return value, ({"L": value}, batch_stats)

    x = jnp.arange(24.0).reshape(2, 4, 3)  # on two devices
    for w in (1.0, jnp.nan):
        params = {"E": {"w": jnp.ones(3), "b": jnp.float32(0)}, "D": {"w": jnp.float32(w)}}
        state = State(jnp.int32(0), params, {}, optimizers.init(params))
        step = jax.vmap(lambda x, state=state: descend(loss, state, optimizers, x, KEY, parts), axis_name=parallel.AXIS)
        _, metrics = jax.jit(step)(x)
        assert metrics.keys() == {"L", "gradient_norm/E", "gradient_norm/D"}
        expected = np.sqrt(np.sum(np.mean(np.arange(24).reshape(8, 3), axis=0) ** 2) + 1)
        np.testing.assert_allclose(metrics["gradient_norm/E"], [expected] * 2, rtol=1e-6)
        assert np.isfinite(metrics["L"]).all()


def test_an_iteration_in_parts_averages_over_the_parts_with_one_new_discriminator():
    """Compares with a plain loop over the parts: gradients of D, D's step, gradients of E and G with the new D."""
    config = tiny_config()
    config.batch.parts = 2
    config.image.ramp.slope = {}
    config.image.decay.warmup = 0
    for group in config.image.optimizers.values():
        group.update({"kind": "sgd", "learning_rate": 0.1, "momentum": 0.0, "l2": 0.0})
    teacher = jax.jit(stages.build(config, "teacher", CLASSES).init)(jax.random.key(1), {})
    built = ImageSystem.build(config, "image", CLASSES)
    state = jax.jit(built.init)(KEY, {"teacher": teacher})
    batch = drawn_batch(config)

    def by_hand(state, batch, key):
        augment_key, key = jax.random.split(jax.random.fold_in(key, state.step))
        view = views(augment_key, batch["image"], batch["label"], built.recipe.augment)
        parts = [jax.tree.map(lambda x, rows=rows: x[rows], view) for rows in (slice(0, 2), slice(2, 4))]
        keys = [jax.random.split(part_key) for part_key in jax.random.split(key, 2)]

        def gradient_D(params_D):
            value = 0.0
            for part, (generate_key, _) in zip(parts, keys, strict=True):
                x, targets = built.generate(state.params, state.batch_stats, part, generate_key)
                terms = built.discriminator_terms(params_D, targets.x_1, x.x_swap)
                value += built.total(terms, state.step) / 2
            return value

        params = dict(state.params)
        gradients = jax.grad(gradient_D)(params["D"])
        params["D"] = jax.tree.map(lambda w, g: w - 0.1 * g, params["D"], gradients)

        def loss_EG(params_EG):
            value, batch_stats = 0.0, state.batch_stats
            for part, (generate_key, loss_key) in zip(parts, keys, strict=True):
                x, targets = built.generate(params_EG, batch_stats, part, generate_key)
                batch_stats = targets.batch_stats
                terms = built.generator_terms(params_EG, params["D"], state.frozen["teacher"], x, targets, loss_key)
                value += built.total(terms, state.step) / 2
            return value, batch_stats

        params_EG = {name: tree for name, tree in params.items() if name != "D"}
        gradients, batch_stats = jax.grad(loss_EG, has_aux=True)(params_EG)
        params |= jax.tree.map(lambda w, g: w - 0.1 * g, params_EG, gradients)
        return {"params": params, "batch_stats": batch_stats}

    lead = jax.tree.map(lambda x: x[None], batch)

    def run(function):
        after = jax.jit(jax.vmap(function, (None, 0, None), axis_name=parallel.AXIS))(state, lead, KEY)
        return jax.tree.map(lambda x: x[0], after)

    expected, (after, metrics) = run(by_hand), run(built.train_step)
    assert after.step == 1
    assert set(built.weights) <= set(metrics)
    for kind in ("params", "batch_stats"):
        for name, tree in expected[kind].items():
            scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(tree))
            jax.tree.map(
                lambda a, b, scale=scale, name=name: np.testing.assert_allclose(
                    a / scale, b / scale, atol=1e-5, err_msg=name
                ),
                getattr(after, kind)[name],
                tree,
            )
