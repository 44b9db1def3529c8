"""SDL: its terms, which networks each of them reaches, and what retrieval compares."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import sysu_sdl
from rgbir_jax import stages
from rgbir_jax.errors import UserError
from rgbir_jax.stages.sdl import SDL
from rgbir_jax.stages.streams import train_streams
from tests.stages.steps import check_lowers, drawn_state, first, full_size, on_devices, overfitted, reached, split
from tests.tiny import drawn_batch, tiny_sdl_config

CLASSES = 4
KEY = jax.random.key(0)
HEADS = ("x", "u", "v_rgb", "v_ir", "classifier_x", "classifier_u")


@cache
def system(preset: str = "paper"):
    """Returns (config, SDL, state, batch)."""
    config = tiny_sdl_config(preset)
    built = SDL.build(config, "sdl", CLASSES)
    return config, built, drawn_state(built), drawn_batch(config)


@cache
def train_step(preset: str = "paper"):
    return on_devices(system(preset)[1].train_step)


def batch_terms(built, params, state, batch):
    """Computes (terms, embeddings) of the batch, not augmented."""
    x = batch["image"].astype(jnp.float32) / 128 - 1
    label = jnp.broadcast_to(batch["label"][:, None, None], x.shape[:3]).reshape(-1)
    parts, _ = built.forward(params, state.batch_stats, x)
    return built.terms(params, parts, label)[0], parts


@cache
def every_term(preset: str = "paper"):
    """Returns the stage with a weight of 1 for each term."""
    config = tiny_sdl_config(preset)
    config.sdl.weights.update(dict.fromkeys(config.sdl.weights, 1.0))
    return SDL.build(config, "sdl", CLASSES)


def unit(x):
    return np.asarray(x, float) / np.linalg.norm(np.asarray(x, float), axis=1, keepdims=True)


def by_hand(preset: str, params, parts) -> dict[str, float]:
    """Computes the terms in NumPy from the embeddings; images are in the order identity, modality."""
    label = np.repeat(np.arange(CLASSES), 2)

    def logits(name, embedding):
        layer = params[f"classifier_{name}"]["classifier"]
        embedding = np.asarray(embedding, float)
        return np.where(embedding > 0, embedding, 0.1 * embedding) @ np.asarray(layer["kernel"]) + layer["bias"]

    def log_p(values):
        return values - np.log(np.exp(values).sum(1, keepdims=True))

    rest = [unit(parts.x) - unit(parts.u) - unit(v) for v in parts.v]
    judged = [logits("u", v) for v in parts.v]
    if preset == "paper":
        L_dis = sum(np.sum(r**2) for r in rest) / len(label)
        L_disp = sum(-log_p(values).mean() for values in judged)
    else:
        L_dis = sum(np.sqrt(np.sum(r**2)) for r in rest)
        L_disp = sum(np.sqrt(np.sum((values - 1 / CLASSES) ** 2)) for values in judged)
    own = {f"L_id_{name}": -log_p(logits(name, getattr(parts, name)))[range(len(label)), label].mean() for name in "xu"}
    return own | {"L_dis": L_dis, "L_disp": L_disp}


@pytest.mark.parametrize(("preset", "kinds_of_v"), [("paper", 1), ("released", 2)])
def test_terms_by_hand(preset, kinds_of_v):
    _, _, state, batch = system(preset)
    compute = on_devices(lambda state, batch, key: batch_terms(every_term(preset), state.params, state, batch))
    terms, parts = first(compute(state, split(batch, 1), KEY))
    assert len(parts.v) == kinds_of_v
    assert dict(terms) == pytest.approx(by_hand(preset, state.params, parts), rel=1e-4)


def test_each_term_reaches_the_networks_it_should_and_no_other():
    _, _, state, batch = system()
    streams, v = {"rgb", "ir"}, {"v_rgb", "v_ir"}
    found = reached(lambda params, batch: batch_terms(every_term(), params, state, batch)[0], state.params, batch)
    assert found == {
        "L_id_x": streams | {"x", "classifier_x"},
        "L_id_u": streams | {"u", "classifier_u"},
        "L_disp": streams | v,
        "L_dis": streams | v | {"x", "u"},
    }


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_each_head_normalises_the_images_that_it_sees(preset):
    """Computes the heads in NumPy: x and u see all images; v_rgb and v_ir their own, or (released) all."""
    _, built, state, batch = system(preset)
    x = batch["image"].astype(jnp.float32) / 128 - 1

    @on_devices
    def forward(state, x, key):
        del key
        pooled, _ = train_streams(built.stream, state.params, state.batch_stats, x)
        return pooled, built.forward(state.params, state.batch_stats, x)[0]

    pooled, parts = jax.tree.map(np.float64, first(forward(state, split(x, 1), KEY)))

    def head(name, rows):
        layer, norm = (jax.tree.map(np.float64, state.params[name][part]) for part in ("bottleneck_layer", "norm"))
        y = rows.reshape(-1, rows.shape[-1]) @ layer["kernel"] + layer["bias"]
        y = (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-5) * norm["scale"] + norm["bias"]
        return y.reshape(*rows.shape[:3], -1)

    if preset == "paper":
        v = [np.concatenate([head("v_rgb", pooled[:, :1]), head("v_ir", pooled[:, 1:])], axis=1)]
    else:
        v = [head("v_rgb", pooled), head("v_ir", pooled)]
    expected = (head("x", pooled), head("u", pooled), *v)
    for embedding, by_numpy in zip((parts.x, parts.u, *parts.v), expected, strict=True):
        np.testing.assert_allclose(embedding, by_numpy.reshape(embedding.shape), rtol=1e-4, atol=1e-4)


def test_each_spectrum_has_a_head_of_its_own():
    """Other RGB images change neither the statistics nor the embeddings of v_ir."""
    _, built, state, batch = system()
    other = batch | {"image": batch["image"].at[:, 0].set(255 - batch["image"][:, 0])}

    @on_devices
    def forward(state, batch, key):
        del key
        parts, batch_stats = built.forward(state.params, state.batch_stats, batch["image"] / 128 - 1.0)
        return parts.v[0].reshape(CLASSES, 2, -1), batch_stats

    (v, stats), (v_other, stats_other) = (first(forward(state, split(inputs, 1), KEY)) for inputs in (batch, other))
    np.testing.assert_array_equal(v[:, 1], v_other[:, 1])
    assert np.abs(v[:, 0] - v_other[:, 0]).max() > 1e-3
    jax.tree.map(np.testing.assert_array_equal, stats["v_ir"], stats_other["v_ir"])
    assert not np.array_equal(stats["u"]["norm"]["mean"], stats_other["u"]["norm"]["mean"])


def test_an_iteration_on_four_devices():
    _, _, state, batch = system()
    replicas = train_step()(state, split(batch, 4), KEY)
    for leaf in jax.tree.leaves(replicas):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    after, metrics = first(replicas)
    terms = {"L_id_x": 1.0, "L_id_u": 1.0, "L_disp": 1.0, "L_dis": 0.1}
    assert set(metrics) == {*terms, "L_total", "accuracy"} | {f"gradient_norm/{name}" for name in (*HEADS, "rgb", "ir")}
    assert metrics["L_total"] == pytest.approx(sum(w * float(metrics[t]) for t, w in terms.items()), rel=1e-5)
    change = jax.tree.map(lambda new, old: np.abs(new - old).max(), after.params, state.params)
    assert min(jax.tree.leaves(change)) > 0
    assert after.step == 1


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "released"])
def test_one_device_and_four_agree(preset):
    """The norm of the released code is of the whole batch, so it needs the images of all devices."""
    _, _, state, batch = system(preset)
    one, four = (first(train_step(preset)(state, split(batch, devices), KEY)) for devices in (1, 4))
    given, expected = ({key: float(value) for key, value in metrics.items()} for _, metrics in (four, one))
    assert given == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_the_released_code_does_not_dispel():
    _, _, state, batch = system("released")
    _, metrics = jax.eval_shape(train_step("released"), state, split(batch, 1), KEY)
    assert "L_disp" not in metrics
    groups = system("released")[1].groups
    assert {name: group.learning_rate(0) for name, group in groups.items()} == pytest.approx(
        {"trunk": 0.001, "head": 0.01, "other_heads": 0.001}
    )


def test_features_are_u_and_the_controls_x_and_v():
    _, built, state, _ = system()
    x, modality = jax.random.normal(KEY, (4, 32, 16, 3)), jnp.array([0, 1, 1, 0], jnp.int32)
    compute = jax.jit(lambda state: {name: stage.features(state, x, modality) for name, stage in parts.items()})
    parts = {"u": built} | built.controls
    assert set(parts) == {"u", "x", "v"}
    found = compute(state)
    assert all(value.shape == (4, 8) for value in found.values())

    def changed(head):
        """Returns whose features depend on a head, by image."""
        scaled = jax.tree.map(lambda leaf: 2 * leaf + 1, state.params[head])
        other = compute(state.replace(params=state.params | {head: scaled}))
        return {name: np.any(other[name] != found[name], axis=1).tolist() for name in parts}

    nobody, everybody = [False] * 4, [True] * 4
    assert changed("u") == {"u": everybody, "x": nobody, "v": nobody}
    assert changed("x") == {"u": nobody, "x": everybody, "v": nobody}
    assert changed("v_rgb") == {"u": nobody, "x": nobody, "v": [True, False, False, True]}
    assert changed("v_ir") == {"u": nobody, "x": nobody, "v": [False, True, True, False]}


@pytest.mark.slow
def test_a_tiny_batch_can_be_overfitted():
    before, after = overfitted(tiny_sdl_config(), "sdl", steps=60)
    assert after["L_id_u"] < 0.1 * before["L_id_u"]
    assert after["L_id_x"] < 0.1 * before["L_id_x"]
    assert after["L_dis"] < 0.7 * before["L_dis"]
    assert after["L_disp"] < 1.1 * np.log(CLASSES)
    assert after["accuracy"] == 1


def test_the_full_size_networks_have_the_published_parameters():
    _, _, sizes, features = full_size(sysu_sdl.get_config(), "sdl")
    assert sizes["v_ir"] == sizes["x"] == 1_050_112
    assert sum(sizes.values()) == 51_621_782
    assert (features.shape, features.dtype) == ((5, 512), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_full_size_step_lowers(preset):
    check_lowers(sysu_sdl.get_config(preset), "sdl")


def test_one_modality_is_refused():
    config = tiny_sdl_config()
    config.modalities = (0,)
    with pytest.raises(UserError, match=r"two streams need RGB and IR; set config.modalities = \(0, 1\)"):
        stages.build(config, "sdl", CLASSES)


def test_an_unknown_penalty_is_named():
    config = tiny_sdl_config()
    config.sdl.penalty = "sum"
    with pytest.raises(UserError, match=r'config.sdl.penalty "sum" is unknown; choose "mean" or "norm"'):
        stages.build(config, "sdl", CLASSES)
