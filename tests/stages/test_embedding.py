"""The embedding-space system: triplets, terms, their gradients, the rows of Table 6 and the classifier before it."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import sysu_embedding
from rgbir_jax import stages
from rgbir_jax.stages.embedding import EmbeddingSystem, standardised
from rgbir_jax.training import parallel

CLASSES = 5
IDENTITIES, SHOTS, DIM, CODE = 4, 2, 12, 8
KEY = jax.random.key(0)


def tiny_config(row: str = "hard_triplet"):
    config = sysu_embedding.get_config(row)
    config.dtype = "float32"
    config.batch.identities = IDENTITIES
    config.two_stream.networks.head.bottleneck = DIM
    config.embedding_classifier.networks.classifier.hidden = 16
    config.embedding.networks.E.update({"hidden": (16, 32, 16), "code": CODE})
    config.embedding.networks.D.update({"hidden": (16, 32)})
    for name in ("embedding_classifier", "embedding"):
        for group in config[name].optimizers:
            config[name].optimizers[group].learning_rate = 3e-3
    return config


def drawn_batch():
    x = np.random.default_rng(0).normal(size=(IDENTITIES, 2, SHOTS, DIM))
    return {
        "embedding": jnp.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True), jnp.float32),
        "label": jnp.array([3, 0, 4, 1], jnp.int32),
        "camera": jnp.ones((IDENTITIES, 2, SHOTS), jnp.int32),
    }


@cache
def system(row: str = "hard_triplet"):
    """Returns (config, EmbeddingSystem, state) with a random classifier."""
    config = tiny_config(row)
    config.embedding.weights.update({term: 0.7 for term in ("L_simple", "L_dis")})
    classifier = stages.build(config, "embedding_classifier", CLASSES).init(jax.random.key(1), {})
    built = EmbeddingSystem.build(config, "embedding", CLASSES)
    return config, built, built.init(jax.random.key(2), {"embedding_classifier": classifier})


def on_devices(function):
    """Compiles a function of (state, batch, key) for batches [device, ...]. It returns one result per device."""
    return jax.jit(jax.vmap(function, (None, 0, None), axis_name=parallel.AXIS))


@cache
def train_step(row: str = "hard_triplet"):
    return on_devices(system(row)[1].train_step)


def split(batch, devices: int):
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def first(tree):
    return jax.tree.map(lambda x: x[0], tree)


@cache
def triplets_terms_gradients(row: str = "hard_triplet"):
    """Computes (triplets, terms, gradients by term) of the batch."""
    _, built, state = system(row)

    def compute(state, batch, key):
        def terms(params):
            triplets = built.encode(params, batch["embedding"], batch["label"], key)
            values = built.terms(params, state.frozen["classifier"], triplets)
            return values, (triplets, values)

        gradients, triplets_and_terms = jax.jacrev(terms, has_aux=True)(state.params)
        return *triplets_and_terms, gradients

    return first(on_devices(compute)(state, split(drawn_batch(), 1), KEY))


def mlp(params, x, rectify):
    """Applies a network to one row, layer after layer."""
    for i in range(len(params)):
        layer = params[f"Dense_{i}"]
        x = np.asarray(layer["kernel"], float).T @ x + np.asarray(layer["bias"], float)
        if rectify or i < len(params) - 1:
            x = np.maximum(x, 0)
    return x


@pytest.mark.parametrize("row", ["random_triplet", "hard_triplet"])
def test_a_triplet_is_an_anchor_with_an_ir_positive_and_an_ir_negative_and_their_codes(row):
    _, _, state = system(row)
    x, _, _ = triplets_terms_gradients(row)
    batch = drawn_batch()
    rgb, ir = (np.asarray(batch["embedding"][:, modality]).reshape(-1, DIM) for modality in (0, 1))
    owner = np.repeat(batch["label"], SHOTS)
    root = np.sqrt(DIM)  # the factor from unit vectors to vectors of mean square one
    np.testing.assert_allclose(x.X_1, root * rgb, rtol=1e-5)
    np.testing.assert_array_equal(x.y_1, owner)
    for X, y in ((x.X_2, x.y_1), (x.X_3, x.y_3)):
        for embedding, label in zip(X, y, strict=True):
            (place,) = np.flatnonzero(np.abs(root * ir - embedding).max(1) < 1e-4)
            assert owner[place] == label
    assert np.all(x.y_1 != x.y_3)
    for encoder, X, m, s in (
        ("E_rgb", x.X_1, x.m_1, x.s_1),
        ("E_ir", x.X_2, x.m_2, x.s_2),
        ("E_ir", x.X_3, x.m_3, x.s_3),
    ):
        for component, codes in (("m", m), ("s", s)):
            by_hand = [mlp(state.params[encoder][component], row, True) for row in np.asarray(X, float)]
            np.testing.assert_allclose(codes, by_hand, rtol=1e-4, atol=1e-5)


def test_hard_triplets_have_the_farthest_positive_and_the_nearest_negative():
    _, _, state = system()
    x, _, _ = triplets_terms_gradients()
    ir = np.asarray(standardised(drawn_batch()["embedding"][:, 1]), float)
    s_ir = np.array([mlp(state.params["E_ir"]["s"], row, True) for row in ir.reshape(-1, DIM)])
    distance = np.abs(np.asarray(x.s_1, float)[:, None] - s_ir).sum(-1)
    same = np.repeat(np.eye(IDENTITIES, dtype=bool), SHOTS, 0).repeat(SHOTS, 1)
    np.testing.assert_allclose(np.abs(x.s_1 - x.s_2).sum(1), np.where(same, distance, 0).max(1), rtol=1e-4)
    np.testing.assert_allclose(np.abs(x.s_1 - x.s_3).sum(1), np.where(same, np.inf, distance).min(1), rtol=1e-4)


def test_random_triplets_change_with_the_iteration_and_hard_ones_do_not():
    batch = drawn_batch()
    for row, change in (("random_triplet", True), ("hard_triplet", False)):
        _, built, state = system(row)

        def negatives(state, batch, key, built=built):
            return built.encode(state.params, batch["embedding"], batch["label"], key).y_3

        draws = [on_devices(negatives)(state, split(batch, 1), jax.random.key(seed)) for seed in (1, 2)]
        assert np.any(draws[0] != draws[1]) == change


def test_terms_by_hand():
    """Computes every term by its equation in section 4.1, one triplet at a time."""
    config, _, state = system()
    x, terms, _ = triplets_terms_gradients()
    params, classifier = state.params, state.frozen["classifier"]["params"]
    expected = dict.fromkeys(("L_simple", "L_cross", "L_dis", "L_triplet"), 0.0)
    n = IDENTITIES * SHOTS
    for i in range(n):
        t = {name: np.asarray(value[i], float) for name, value in x._asdict().items()}

        def D(modality, m, s):
            decoder = params[f"D_{modality}"]
            return mlp(decoder["m"], m, False) + mlp(decoder["s"], s, False)

        def cross_entropy(X, y):
            logits = mlp(classifier["classifier"], mlp(classifier["hidden_layer"], X, True), False)
            return np.log(np.exp(logits).sum()) - logits[int(y)]

        def error(X, decoded):
            return np.abs(X - decoded).mean()

        expected["L_simple"] += error(t["X_1"], D("rgb", t["m_1"], t["s_1"])) / n
        expected["L_simple"] += error(t["X_2"], D("ir", t["m_2"], t["s_2"])) / n
        expected["L_simple"] += error(t["X_3"], D("ir", t["m_3"], t["s_3"])) / n
        expected["L_cross"] += error(t["X_1"], D("rgb", t["m_1"], t["s_2"])) / n
        expected["L_cross"] += error(t["X_2"], D("ir", t["m_2"], t["s_1"])) / n
        expected["L_dis"] += cross_entropy(D("rgb", t["m_1"], t["s_3"]), t["y_3"]) / n
        expected["L_dis"] += cross_entropy(D("ir", t["m_3"], t["s_1"]), t["y_1"]) / n
        difference = np.abs(t["s_1"] - t["s_2"]).sum() - np.abs(t["s_1"] - t["s_3"]).sum()
        expected["L_triplet"] += max(0, config.embedding.margin + difference) / n
    assert {term: float(value) for term, value in terms.items()} == pytest.approx(expected, rel=1e-4)


def test_each_term_reaches_the_networks_it_should_and_no_other():
    _, _, gradients = triplets_terms_gradients()
    reached = {
        term: {
            f"{network}/{component}"
            for network, components in tree.items()
            for component, leaves in components.items()
            if any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(leaves))
        }
        for term, tree in gradients.items()
    }
    everywhere = {f"{network}/{c}" for network in ("E_rgb", "E_ir", "D_rgb", "D_ir") for c in ("m", "s")}
    assert reached == {
        "L_simple": everywhere,
        "L_cross": everywhere,
        "L_dis": everywhere,
        "L_triplet": {"E_rgb/s", "E_ir/s"},
    }


ROWS = {
    "simple_dis": {"L_simple", "L_dis"},
    "simple_dis_cross": {"L_simple", "L_dis", "L_cross"},
    "random_triplet": {"L_simple", "L_dis", "L_cross", "L_triplet"},
    "hard_triplet": {"L_simple", "L_dis", "L_cross", "L_triplet"},
}


@pytest.mark.parametrize("row", ROWS)
def test_an_iteration_of_each_row_of_table_6(row):
    config, built, state = system(row)
    after, metrics = first(train_step(row)(state, split(drawn_batch(), 1), KEY))
    assert set(metrics) == ROWS[row] | {"L_total"} | {f"gradient_norm/{network}" for network in built.networks}
    total = sum(config.embedding.weights[term] * float(metrics[term]) for term in ROWS[row])
    assert metrics["L_total"] == pytest.approx(total, rel=1e-5)
    assert after.step == 1
    jax.tree.map(np.testing.assert_array_equal, after.frozen, state.frozen)
    assert all(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (after.params, state.params)), strict=True))


def test_hard_triplets_are_harder_than_random_ones():
    batch = split(drawn_batch(), 1)
    (hard, hard_metrics), (random, random_metrics) = (
        first(train_step(row)(system(row)[2], batch, KEY)) for row in ("hard_triplet", "random_triplet")
    )
    assert hard_metrics["L_triplet"] > random_metrics["L_triplet"] + 0.1
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (hard.params, random.params)), strict=True))


@pytest.mark.parametrize("row", ["random_triplet", "hard_triplet"])
def test_one_device_and_four_agree(row):
    """With one identity per device, every negative is on another device."""
    config = tiny_config(row)
    # Adam turns a rounding error of a gradient near zero into a whole step; plain SGD shows the gradients.
    config.embedding.optimizers.autoencoders.update({"kind": "sgd", "learning_rate": 0.1, "momentum": 0.0})
    built = EmbeddingSystem.build(config, "embedding", CLASSES)
    state = system(row)[2].replace(opt_state=built.optimizers.init(system(row)[2].params))
    step = on_devices(built.train_step)
    one, four = (step(state, split(drawn_batch(), devices), KEY) for devices in (1, 4))
    for replicas in jax.tree.leaves(four):
        np.testing.assert_array_equal(replicas, np.broadcast_to(replicas[:1], replicas.shape))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), first(four), first(one))


@pytest.mark.parametrize("component", ["s", "m"])
def test_features_are_a_component_from_each_embedding_s_own_encoder(component):
    stage, state = stages.build(tiny_config(), "embedding", CLASSES), system()[2]
    features = {"s": stage, **stage.controls}[component].features
    x = jnp.asarray(np.random.default_rng(5).normal(size=(6, DIM)), jnp.float32)
    modality = jnp.array([0, 1, 1, 0, 0, 1], jnp.int32)
    codes = features(state, x, modality)
    for row, code, number in zip(np.asarray(x, float), codes, modality, strict=True):
        encoder = state.params["E_ir" if number else "E_rgb"][component]
        np.testing.assert_allclose(code, mlp(encoder, row / np.sqrt((row**2).mean()), True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features(state, 7 * x, modality), codes, rtol=1e-4, atol=1e-5)


def test_what_the_stages_read_and_need():
    config = tiny_config()
    built = {name: stages.build(config, name, CLASSES) for name in config.recipe}
    assert {name: (stage.reads, stage.needs) for name, stage in built.items()} == {
        "two_stream": ("", ()),
        "embedding_classifier": ("two_stream", ()),
        "embedding": ("two_stream", ("embedding_classifier",)),
    }


def train(stage, previous, steps):
    """Trains on the drawn batch. Returns (state, first metrics, last metrics)."""
    state = parallel.replicate(jax.device_get(stage.init(KEY, previous)))
    step, batch = parallel.pmap(stage.train_step), parallel.shard(jax.device_get(drawn_batch()))
    history = []
    for _ in range(steps):
        state, metrics = step(state, batch, KEY)
        history.append(jax.device_get(metrics))
    return jax.device_get(state), history[0], history[-1]


def test_a_tiny_batch_can_be_overfitted():
    config = tiny_config()
    classifier, before, after = train(stages.build(config, "embedding_classifier", CLASSES), {}, 200)
    assert after["accuracy"] == 1
    assert after["L_id"] < 0.1 * before["L_id"]

    previous = {"embedding_classifier": classifier}
    state, before, after = train(stages.build(config, "embedding", CLASSES), previous, 250)
    assert after["L_simple"] < 0.3 * before["L_simple"]
    assert after["L_dis"] < 0.3 * before["L_dis"]
    assert after["L_triplet"] < 0.1 * before["L_triplet"]
    jax.tree.map(np.testing.assert_array_equal, state.frozen["classifier"]["params"], classifier.params["classifier"])


def test_the_classifier_s_loss_and_features_by_hand():
    stage = stages.build(tiny_config(), "embedding_classifier", CLASSES)
    state, batch = stage.init(KEY, {}), drawn_batch()
    _, metrics = first(on_devices(stage.train_step)(state, split(batch, 1), KEY))
    params = state.params["classifier"]
    cross_entropy, right = [], []
    for i, modality, shot in np.ndindex(IDENTITIES, 2, SHOTS):
        x = np.asarray(batch["embedding"][i, modality, shot], float)
        hidden = mlp(params["hidden_layer"], np.sqrt(DIM) * x, True)
        logits = mlp(params["classifier"], hidden, False)
        cross_entropy.append(np.log(np.exp(logits).sum()) - logits[batch["label"][i]])
        right.append(np.argmax(logits) == batch["label"][i])
        feature = stage.features(state, batch["embedding"][i, modality, shot][None], jnp.array([modality]))
        np.testing.assert_allclose(feature[0], hidden, rtol=1e-4, atol=1e-5)
    assert metrics["L_id"] == pytest.approx(np.mean(cross_entropy), rel=1e-4)
    assert metrics["accuracy"] == pytest.approx(np.mean(right))


def test_the_full_size_recipe_fits_together():
    config = sysu_embedding.get_config()
    previous, stage = {}, None
    for name in config.recipe:
        stage = stages.build(config, name, 395)
        previous[name] = jax.eval_shape(stage.init, KEY, previous)
    assert stage is not None
    batch = {
        "embedding": jax.ShapeDtypeStruct((1, 8, 2, 2, 512), jnp.float32),
        "label": jax.ShapeDtypeStruct((1, 8), jnp.int32),
        "camera": jax.ShapeDtypeStruct((1, 8, 2, 2), jnp.int32),
    }
    state = previous["embedding"]
    after, metrics = jax.eval_shape(parallel.pmap(stage.train_step), state, batch, KEY)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert all(value.shape == () and value.dtype == jnp.float32 for value in metrics.values())
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in after.params.items()}
    assert sizes == {"E_rgb": 7_412_864, "E_ir": 7_412_864, "D_rgb": 4_265_984, "D_ir": 4_265_984}
    x, modality = jax.ShapeDtypeStruct((5, 512), jnp.float32), jax.ShapeDtypeStruct((5,), jnp.int32)
    features = jax.eval_shape(stage.features, after, x, modality)
    assert (features.shape, features.dtype) == ((5, 64), jnp.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"triplets": "semi-hard"}, '"semi-hard" is unknown; choose "random" or "hard"'),
        ({"classifier": ""}, "L_dis needs a classifier"),
    ],
)
def test_an_impossible_config_is_refused(change, message):
    config = tiny_config()
    config.embedding.update(change)
    with pytest.raises(ValueError, match=message):
        stages.build(config, "embedding", CLASSES)


def test_one_modality_and_an_unknown_row_are_refused():
    config = tiny_config()
    config.modalities = (1,)
    with pytest.raises(ValueError, match=r"set config.modalities = \(0, 1\)"):
        stages.build(config, "embedding", CLASSES)
    with pytest.raises(ValueError, match='"easy" is unknown; choose one of simple_dis'):
        sysu_embedding.get_config("easy")
