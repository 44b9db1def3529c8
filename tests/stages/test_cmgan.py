"""cmGAN: its terms, and which networks each of them reaches, in which direction."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import sysu_cmgan
from rgbir_jax import stages
from rgbir_jax.errors import UserError
from tests.stages.steps import (
    CLASSES,
    KEY,
    check_lowers,
    drawn_state,
    first,
    full_size,
    on_devices,
    overfitted,
    reached,
    split,
)
from tests.tiny import drawn_batch, tiny_cmgan_config

RNG = np.random.default_rng(0)


@cache
def system():
    """Returns (stage, state, batch)."""
    config = tiny_cmgan_config()
    stage = stages.build(config, "cmgan", CLASSES)
    return stage, drawn_state(stage), drawn_batch(config)


@cache
def train_step():
    return on_devices(system()[0].train_step)


def networks_of(stage, state, pooled):
    """Computes the logits of the identity classifier and of D in NumPy."""

    def mlp(network, x):
        layers = [{key: np.asarray(value, float) for key, value in layer.items()} for layer in network.values()]
        for layer in layers[:-1]:
            x = np.maximum(x @ layer["kernel"] + layer["bias"], 0)
        return x @ layers[-1]["kernel"] + layers[-1]["bias"]

    return mlp(state.params["head"], pooled), mlp(state.params["D"], pooled)


def test_terms_by_hand():
    stage, state, _ = system()
    x = 3 * RNG.normal(size=(CLASSES, 2, 2, 128))
    label = jnp.broadcast_to(jnp.arange(CLASSES)[:, None, None], x.shape[:3])

    def terms(state, x, label):
        return stage.terms(state.params, x, label)[0]

    compute = on_devices(lambda state, batch, key: terms(state, *batch))
    given = first(compute(state, (jnp.asarray(x, jnp.float32)[None], label[None]), KEY))

    flat, y = x.reshape(-1, 128), np.repeat(np.arange(CLASSES), 4)
    m = np.tile([0, 0, 1, 1], CLASSES)
    logits, of_modality = networks_of(stage, state, flat)

    def log_p(values):
        return values - np.log(np.exp(values).sum(1, keepdims=True))

    cross_entropy = -log_p(of_modality)[range(len(m)), m]
    by_anchor = []
    for a in range(len(y)):
        d = {b: np.linalg.norm(flat[a] - flat[b]) for b in range(len(y)) if m[b] != m[a]}
        farthest = max(d[b] for b in d if y[b] == y[a])
        by_anchor.append(max(0, 1.4 + farthest - min(d[b] for b in d if y[b] != y[a])))
    L_D = cross_entropy[m == 0].mean() + cross_entropy[m == 1].mean()
    expected = {
        "L_id": -log_p(logits)[range(len(y)), y].mean(),
        "L_triplet": np.mean(by_anchor),
        "L_D": L_D,
        "L_adv": -L_D,
    }
    assert dict(given) == pytest.approx(expected, rel=1e-4)


def test_each_term_reaches_the_networks_it_should_and_no_other():
    stage, state, batch = system()

    def terms(params, batch):
        x = (batch["image"].astype(jnp.float32) / 128 - 1).reshape(-1, 32, 16, 3)
        label = jnp.broadcast_to(batch["label"][:, None, None], batch["image"].shape[:3])
        variables = {"params": params["E"], "batch_stats": state.batch_stats["E"]}
        pooled, _ = stage.E.apply(variables, x, train=True, mutable=["batch_stats"])
        return stage.terms(params, pooled.reshape(*label.shape, -1), label)[0]

    assert reached(terms, state.params, batch) == {
        "L_id": {"E", "head"},
        "L_triplet": {"E"},
        "L_D": {"D"},
        "L_adv": {"E"},
    }


def test_an_iteration_on_four_devices():
    stage, state, batch = system()
    replicas = train_step()(state, split(batch, 4), KEY)
    for leaf in jax.tree.leaves(replicas):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    after, metrics = first(replicas)
    weights = {"L_id": 1.0, "L_triplet": 1.0, "L_D": 1.0, "L_adv": 0.05}
    assert metrics["L_total"] == pytest.approx(sum(w * float(metrics[t]) for t, w in weights.items()), rel=1e-5)
    assert set(metrics) == {*weights, "L_total", "accuracy", *(f"gradient_norm/{name}" for name in stage.networks)}
    change = jax.tree.map(lambda new, old: np.abs(new - old).max(), after.params, state.params)
    assert min(jax.tree.leaves(change)) > 0


@pytest.mark.slow
def test_one_device_and_four_agree():
    _, state, batch = system()
    one, four = (first(train_step()(state, split(batch, devices), KEY)) for devices in (1, 4))
    given, expected = ({key: float(value) for key, value in metrics.items()} for _, metrics in (four, one))
    assert given == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.slow
def test_a_tiny_batch_can_be_overfitted():
    before, after = overfitted(tiny_cmgan_config(), "cmgan", steps=40)
    assert after["L_id"] < 0.1 * before["L_id"]
    assert after["accuracy"] == 1


def test_the_full_size_networks_have_the_known_parameters():
    _, _, sizes, features = full_size(sysu_cmgan.get_config(), "cmgan")
    assert sizes == {"E": 23_508_032, "head": 1_251_723, "D": 2_550_502}
    assert (features.shape, features.dtype) == ((5, 2048), jnp.float32)


@pytest.mark.slow
def test_the_full_size_step_lowers():
    check_lowers(sysu_cmgan.get_config(), "cmgan")


def test_one_modality_is_refused():
    config = tiny_cmgan_config()
    config.modalities = (1,)
    with pytest.raises(UserError, match=r"a discriminator of modalities needs RGB and IR; set config.modalities"):
        stages.build(config, "cmgan", CLASSES)
