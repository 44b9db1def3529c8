"""M_bdtr: its terms, their gradients, and the images of each stream."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import sysu_two_stream
from rgbir_jax import stages
from rgbir_jax.stages.two_stream import TwoStream
from rgbir_jax.training import parallel
from tests.stages.steps import check_lowers, full_size, reached
from tests.tiny import drawn_batch, tiny_two_stream_config

CLASSES = 4
KEY = jax.random.key(0)
GRADIENT_NORMS = {"gradient_norm/rgb", "gradient_norm/ir", "gradient_norm/head"}


@cache
def system(preset: str = "bdtr"):
    """Returns (config, TwoStream, state, batch)."""
    config = tiny_two_stream_config(preset)
    config.two_stream.weights.L_id = 0.7
    built = TwoStream.build(config, "two_stream", CLASSES)
    return config, built, jax.jit(built.init)(KEY, {}), drawn_batch(config)


def on_devices(function):
    """Compiles a function of (state, batch, key) for batches [device, ...]. It returns one result per device."""
    return jax.jit(jax.vmap(function, (None, 0, None), axis_name=parallel.AXIS))


@cache
def train_step(preset: str = "bdtr"):
    return on_devices(system(preset)[1].train_step)


def split(batch, devices: int):
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def first(tree):
    return jax.tree.map(lambda x: x[0], tree)


@cache
def terms_outputs_gradients():
    """Computes (terms, embeddings, logits, gradients by term) of the batch."""
    _, built, state, batch = system()

    def compute(state, batch, key):
        x = batch["image"].astype(jnp.float32) / 128 - 1
        label = jnp.broadcast_to(batch["label"][:, None, None], x.shape[:3])

        def terms(params):
            embedding, logits, _ = built.forward(params, state.batch_stats, x, key)
            values = built.terms(embedding, logits, label)
            return values, (values, embedding, logits)

        gradients, outputs = jax.jacrev(terms, has_aux=True)(state.params)
        return *outputs, gradients

    return first(on_devices(compute)(state, split(batch, 1), KEY))


def test_terms_by_hand():
    terms, embedding, logits, _ = terms_outputs_gradients()
    assert set(terms) == {"L_id", "L_rank"}
    log_p = np.asarray(logits, float)
    log_p = log_p - np.log(np.exp(log_p).sum(-1, keepdims=True))
    by_hand = [-log_p[i, modality, shot, i] for i, modality, shot in np.ndindex(4, 2, 2)]
    assert terms["L_id"] == pytest.approx(np.mean(by_hand), rel=1e-5)

    x = np.asarray(embedding, float)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    by_hand = 0.0
    for i, modality, shot in np.ndindex(4, 2, 2):
        anchor, positive = x[i, modality, shot], x[i, 1 - modality, shot]
        negatives = [x[j, 1 - modality, k] for j, k in np.ndindex(4, 2) if j != i]
        h = min(negatives, key=lambda negative: np.linalg.norm(anchor - negative))
        cross = max(0, 0.5 + np.linalg.norm(anchor - positive) - np.linalg.norm(anchor - h))
        by_hand += (cross + 0.1 * max(0, 0.1 - np.linalg.norm(h - positive))) / 8
    assert terms["L_rank"] == pytest.approx(by_hand, rel=1e-5)


def test_each_term_reaches_the_networks_it_should_and_no_other():
    _, _, _, gradients = terms_outputs_gradients()
    reached = {
        term: {
            f"{network}/{module}"
            for network, modules in tree.items()
            for module, leaves in modules.items()
            if any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(leaves))
        }
        for term, tree in gradients.items()
    }
    below = {"rgb/trunk", "ir/trunk", "head/bottleneck_layer", "head/norm"}
    assert reached == {"L_id": below | {"head/classifier"}, "L_rank": below}


def test_l_total_is_the_weighted_sum_of_the_terms():
    _, _, state, batch = system()
    after, metrics = first(train_step()(state, split(batch, 1), KEY))
    assert set(metrics) == {"L_id", "L_rank", "L_total", "accuracy"} | GRADIENT_NORMS
    assert metrics["L_total"] == pytest.approx(0.7 * float(metrics["L_id"]) + float(metrics["L_rank"]), rel=1e-5)
    assert after.step == 1


def test_the_baseline_is_the_same_network_without_the_ranking_loss():
    config, _, state, batch = system("baseline")
    _, metrics = jax.eval_shape(train_step("baseline"), state, split(batch, 1), KEY)
    assert set(metrics) == {"L_id", "L_total", "accuracy"} | GRADIENT_NORMS
    config.two_stream.weights.L_rank = 1.0
    assert config == system()[0]


def test_every_parameter_changes_and_all_replicas_are_equal():
    """With one identity per device, every negative is on another device."""
    _, _, state, batch = system()
    four = train_step()(state, split(batch, 4), KEY)
    for replicas in jax.tree.leaves(four):
        np.testing.assert_array_equal(replicas, np.broadcast_to(replicas[:1], replicas.shape))
    change = jax.tree.map(lambda new, old: np.abs(new - old).max(), first(four)[0].params, state.params)
    assert min(jax.tree.leaves(change)) > 0


def test_each_stream_s_statistics_come_from_its_own_modality():
    _, _, state, batch = system()
    other = batch | {"image": batch["image"].at[:, 1].set(255 - batch["image"][:, 1])}
    before, after = (first(train_step()(state, split(inputs, 1), KEY))[0].batch_stats for inputs in (batch, other))
    same = {
        name: all(map(np.array_equal, jax.tree.leaves(before[name]), jax.tree.leaves(after[name]))) for name in before
    }
    assert same == {"rgb": True, "ir": False, "head": False}


def test_features_come_from_each_image_s_own_stream():
    _, built, state, _ = system()
    x = jax.random.normal(KEY, (6, 32, 16, 3))
    features = jax.jit(built.features)
    rgb, ir = (features(state, x, jnp.full(6, modality, jnp.int32)) for modality in (0, 1))
    assert rgb.shape == (6, 8)
    assert np.all(np.abs(rgb - ir).max(1) > 1e-3)
    for modality in ([0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 0]):
        expected = np.where(np.array(modality)[:, None] == 0, rgb, ir)
        np.testing.assert_allclose(features(state, x, jnp.asarray(modality, jnp.int32)), expected, rtol=1e-5, atol=1e-5)


def test_a_tiny_batch_can_be_overfitted():
    config = tiny_two_stream_config()
    config.augment.update({"pad": 0, "erase": {"probability": 0.0, "area": (0.02, 0.4), "aspect": (0.3, 3.3)}})
    for group in config.two_stream.optimizers:
        config.two_stream.optimizers[group].update({"kind": "adam", "learning_rate": 1e-2, "b1": 0.9, "b2": 0.999})
    stage = stages.build(config, "two_stream", CLASSES)
    state = parallel.replicate(jax.device_get(jax.jit(stage.init)(KEY, {})))
    batch = drawn_batch(config)
    step, parts = parallel.pmap(stage.train_step), parallel.shard(jax.device_get(batch))
    history = []
    for _ in range(60):
        state, metrics = step(state, parts, KEY)
        history.append(jax.device_get(metrics))
    assert history[0]["L_rank"] > 0.5
    assert history[-1]["L_rank"] < 0.05
    assert history[-1]["L_id"] < 0.1 * history[0]["L_id"]
    assert history[-1]["accuracy"] == 1


def test_the_full_size_step_fits_together():
    config = sysu_two_stream.get_config()
    stage = stages.build(config, "two_stream", 395)
    state = jax.eval_shape(stage.init, KEY, {})
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), jax.eval_shape(lambda: drawn_batch(config))
    )
    after, metrics = jax.eval_shape(parallel.pmap(stage.train_step), state, batch, KEY)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert all(value.shape == () and value.dtype == jnp.float32 for value in metrics.values())
    assert sum(leaf.size for leaf in jax.tree.leaves(after.params)) == 48_268_811
    images, modality = jax.ShapeDtypeStruct((5, 256, 128, 3), jnp.float32), jax.ShapeDtypeStruct((5,), jnp.int32)
    features = jax.eval_shape(stage.features, after, images, modality)
    assert (features.shape, features.dtype) == ((5, 512), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["bdtr", "batch32"])
def test_full_size_steps_lower(preset):
    check_lowers(sysu_two_stream.get_config(preset), "two_stream")


def test_the_ranking_loss_of_constant_infrared_embeddings_reaches_the_rest():
    _, built, state, batch = system()

    def terms(params, batch):
        x = batch["image"].astype(jnp.float32) / 128 - 1
        label = jnp.broadcast_to(batch["label"][:, None, None], x.shape[:3])
        params = params | {"ir": jax.lax.stop_gradient(params["ir"])}
        embedding, logits, _ = built.forward(params, state.batch_stats, x, KEY)
        return built.terms(embedding, logits, label)

    assert reached(terms, state.params, batch)["L_rank"] == {"rgb", "head"}


def test_pairs_as_in_the_authors_resnet_baseline():
    config = sysu_two_stream.get_config("batch32")
    stage, state, sizes, features = full_size(config, "two_stream")
    assert sizes == {"rgb": 23_508_032, "ir": 23_508_032, "head": 1_252_747}
    assert stage.batch_spec()["image"][0] == (32, 2, 1, 288, 144, 3)
    images, modality = jax.ShapeDtypeStruct((5, 288, 144, 3), jnp.float32), jax.ShapeDtypeStruct((5,), jnp.int32)
    assert jax.eval_shape(stage.feature_map, state, images, modality).shape == (5, 9, 5, 2048)
    assert features.shape == (5, 512)
    rates = {step: (stage.groups["trunk"].learning_rate(step), stage.groups["head"].learning_rate(step))
             for step in (0, 20_879, 20_881, 41_761)}  # fmt: skip
    assert rates[0] == rates[20_879] == pytest.approx((0.001, 0.01))
    assert rates[20_881] == pytest.approx((1e-4, 1e-3))
    assert rates[41_761] == pytest.approx((1e-5, 1e-4))


def test_one_modality_is_refused():
    config = tiny_two_stream_config()
    config.modalities = (0,)
    with pytest.raises(ValueError, match=r"set config.modalities = \(0, 1\)"):
        stages.build(config, "two_stream", CLASSES)


def test_an_unknown_preset_is_named():
    with pytest.raises(ValueError, match='"agw" is unknown; choose one of bdtr, baseline, batch32'):
        sysu_two_stream.get_config("agw")
