"""The teacher, and the control that trains it further."""

import jax
import numpy as np
import pytest

from configs.quickstart import add_control, get_config
from rgbir_jax import stages
from rgbir_jax.training import parallel
from tests.tiny import drawn_batch, tiny_config

CLASSES = 4
KEY = jax.random.key(0)


def train_once(config, name, state):
    """Trains one iteration. Returns (state, metrics)."""
    step = parallel.pmap(stages.build(config, name, CLASSES).train_step)
    batch = parallel.shard(jax.device_get(drawn_batch(config)))
    return step(parallel.replicate(jax.device_get(state)), batch, KEY)


def test_the_control_starts_from_the_teacher():
    config = tiny_config()
    add_control(config)
    teacher = stages.build(config, "teacher", CLASSES).init(KEY, {})
    control = stages.build(config, "control", CLASSES)
    state = control.init(jax.random.key(1), {"teacher": teacher})
    assert control.needs == ("teacher",)
    assert state.step == 0
    for actual, expected in ((state.params, teacher.params), (state.batch_stats, teacher.batch_stats)):
        jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_the_control_trains_as_the_image_stages_do():
    config = get_config()
    control, drawing, image = config.control, config.drawing, config.image
    assert config.recipe == ("teacher", "control", "drawing", "image")
    assert control.steps == control.evaluate_every == drawing.steps + image.steps
    for now, then in zip(control.decay.at, drawing.decay.at, strict=True):
        assert now / control.steps == pytest.approx(then / drawing.steps)
    assert control.total_scale == image.total_scale == drawing.total_scale
    assert control.decay.factor == drawing.decay.factor
    for group in ("trunk", "head"):
        assert control.optimizers[group] == drawing.optimizers[group]
        assert image.optimizers[group].learning_rate == pytest.approx(0.1 * drawing.optimizers[group].learning_rate)
    assert control.networks == config.teacher.networks
    assert control.networks.E_a == image.networks.E_a == drawing.networks.E_a


def test_the_generator_learns_to_draw_before_it_is_judged():
    config = get_config()
    drawing, image = config.drawing, config.image
    for term, weight in image.weights.items():
        assert drawing.weights[term] == (weight if term in ("L_simple", "L_cross", "L_id_orig", "L_triplet") else 0)
    assert set(image.ramp.slope) == {"L_id_recon", "L_dis", "L_code_s", "L_code_a"}
    assert (drawing.start_from, drawing.teacher) == ("teacher", "")
    assert (image.start_from, image.teacher) == ("drawing", "teacher")
    assert image.networks == drawing.networks


def test_total_scale_multiplies_the_gradient_and_not_the_logged_loss():
    config = tiny_config()
    state = stages.build(config, "teacher", CLASSES).init(KEY, {})
    _, once = train_once(config, "teacher", state)
    config.teacher.total_scale = 2.0
    _, twice = train_once(config, "teacher", state)
    assert twice["L_id"] == pytest.approx(float(once["L_id"]), rel=1e-5)
    for network in ("E_a", "head"):
        norm = f"gradient_norm/{network}"
        assert twice[norm] == pytest.approx(2 * float(once[norm]), rel=1e-4)
