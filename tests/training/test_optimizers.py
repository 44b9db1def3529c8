import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from rgbir_jax.training.optimizers import Optimizers, gradient_norms, learning_rate, optimizer

RNG = np.random.default_rng(0)
W = RNG.normal(size=4)
GRADIENTS = RNG.normal(size=(5, 4))
DECAY = ConfigDict({"at": (), "factor": 0.1, "warmup": 0})
ADAM = {"kind": "adam", "learning_rate": 0.01, "b1": 0.5, "b2": 0.9, "l2": 0.1, "clip": 0.0}
SGD = {"kind": "sgd", "learning_rate": 0.01, "momentum": 0.9, "l2": 0.1, "clip": 0.0}


def _run(config: dict) -> np.ndarray:
    rule = optimizer(ConfigDict(config), lambda step: config["learning_rate"])
    w = jnp.asarray(W, jnp.float32)
    state = rule.init(w)
    for gradient in GRADIENTS:
        update, state = rule.update(jnp.asarray(gradient, jnp.float32), state, w)
        w += update
    return np.asarray(w)


def test_adam_with_coupled_l2_by_hand():
    w, m, v = W.copy(), 0, 0
    for t, gradient in enumerate(GRADIENTS, 1):
        g = gradient + 0.1 * w
        m, v = 0.5 * m + 0.5 * g, 0.9 * v + 0.1 * g**2
        w -= 0.01 * (m / (1 - 0.5**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
    np.testing.assert_allclose(_run(ADAM), w, rtol=1e-5)


def test_nesterov_sgd_with_coupled_l2_by_hand():
    w, momentum = W.copy(), 0
    for gradient in GRADIENTS:
        g = gradient + 0.1 * w
        momentum = 0.9 * momentum + g
        w -= 0.01 * (g + 0.9 * momentum)
    np.testing.assert_allclose(_run(SGD), w, rtol=1e-5)


def test_clip_bounds_the_gradient_and_not_the_decay():
    w = W.copy()
    for gradient in GRADIENTS:
        w -= 0.01 * (gradient * min(1, 0.5 / np.linalg.norm(gradient)) + 0.1 * w)
    np.testing.assert_allclose(_run(SGD | {"momentum": 0.0, "clip": 0.5}), w, rtol=1e-5)


def test_learning_rate_at_its_corners():
    rate = learning_rate(
        ConfigDict({"learning_rate": 0.02}), ConfigDict({"at": (100, 200), "factor": 0.1, "warmup": 10})
    )
    corners = {0: 0.002, 4: 0.01, 9: 0.02, 99: 0.02, 101: 0.002, 199: 0.002, 201: 0.0002, 10_000: 0.0002}
    for step, value in corners.items():
        assert rate(step) == pytest.approx(value, rel=1e-5), step


def _groups(*groups: tuple[str, ...]) -> ConfigDict:
    return ConfigDict({f"group{i}": SGD | {"networks": group} for i, group in enumerate(groups)})


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ([("E_s",)], "the parameters of G belong to 0 optimizer groups"),
        ([("E_s", "G"), ("G",)], "the parameters of G belong to 2 optimizer groups"),
        ([("E_s", "G", "X")], "optimizer groups name a network X; the stage trains E_s, G"),
    ],
)
def test_every_network_belongs_to_exactly_one_group(groups, sentence):
    with pytest.raises(ValueError, match=sentence):
        Optimizers(_groups(*groups), DECAY, ("E_s", "G"))


def test_a_step_of_one_group_does_not_change_the_others():
    optimizers = Optimizers(_groups(("E_s", "G"), ("D",)), DECAY, ("E_s", "G", "D"))
    params = {name: {"w": jnp.ones(2)} for name in ("E_s", "G", "D")}
    state = optimizers.init(params)
    new, new_state = optimizers.update({"D": params["D"]}, params, state)
    assert new["E_s"] is params["E_s"]
    assert new["G"] is params["G"]
    assert new_state["group0"] is state["group0"]
    assert np.all(new["D"]["w"] != 1)
    assert jax.tree.structure(new_state) == jax.tree.structure(state)


def test_unknown_optimizer_is_named():
    with pytest.raises(ValueError, match='optimizer kind "lion" is unknown'):
        optimizer(ConfigDict(SGD | {"kind": "lion"}), lambda step: 0.1)


def test_gradient_norms_by_network():
    gradients = {"E_s": {"w": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}, "G": {"w": jnp.array([1.0, jnp.nan])}}
    norms = gradient_norms(gradients)
    assert norms.keys() == {"gradient_norm/E_s", "gradient_norm/G"}
    assert norms["gradient_norm/E_s"] == pytest.approx(5)
    assert np.isnan(norms["gradient_norm/G"])
