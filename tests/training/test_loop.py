"""The training loop with a stage of one parameter, which moves towards the mean of a batch plus noise."""

import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from rgbir_jax.training import parallel
from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.interrupt import Interrupted
from rgbir_jax.training.logging import picture_grid
from rgbir_jax.training.loop import fit
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State


def _init(key, previous):
    del key, previous
    return State(jnp.int32(0), {"w": jnp.zeros(())}, {}, {})


@dataclasses.dataclass(frozen=True, eq=False)
class Line(Stage):
    """A stage of one number, w. Its noise depends on the step."""

    def train_step(self, state, batch, key):
        noise = jax.random.normal(jax.random.fold_in(key, state.step))
        w = state.params["w"]
        gradient = parallel.mean(w - jnp.mean(batch["image"].astype(jnp.float32))) + 0.01 * noise
        metrics = {"L_total": gradient**2}
        return state.replace(step=state.step + 1, params={"w": w - 0.1 * gradient}), metrics

    def pictures(self, state, images):
        return {"twice": jnp.zeros((2, len(images), 4, 4, 3), jnp.uint8)}


NONE = Optimizers(ConfigDict(), ConfigDict(), ())
STAGE = Line(ConfigDict(), ConfigDict(), 0, {}, NONE, {"L_simple": lambda step: step / 10})
CONFIG = ConfigDict({"steps": 10, "log_every": 2, "checkpoint_every": 4, "evaluate_every": 0, "pictures_every": 0})


def _batches(start, at=lambda step: None):
    step = start
    while True:
        at(step)
        yield {"image": np.full((2, 2, 2, 4, 4, 3), step, np.uint8), "camera": np.ones((2, 2, 2), np.int32)}
        step += 1


def _fit(directory: Path, batches=_batches, **changes):
    config = ConfigDict(CONFIG.to_dict() | {k: v for k, v in changes.items() if k in CONFIG})
    others = {k: v for k, v in changes.items() if k not in CONFIG}
    fit(STAGE, _init(None, {}), batches, jax.random.key(0), config, directory, **others)


def _saved(directory: Path, step: int) -> float:
    checkpoints = Checkpoints(directory / "checkpoints")
    assert checkpoints.latest() == step
    w = float(checkpoints.restore(step, _init(None, {})).params["w"])
    checkpoints.close()
    return w


def _lines(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_runs_to_the_last_iteration_and_logs(tmp_path):
    _fit(tmp_path)
    assert _saved(tmp_path, 10) != 0
    lines = _lines(tmp_path)
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10]
    assert lines[1]["weight/L_simple"] == pytest.approx(0.3)  # the weight of the fourth iteration
    assert lines[2].keys() >= {"L_total", "images_per_second", "waiting_for_input"}
    assert all(0 <= line["waiting_for_input"] <= 1 for line in lines)
    assert list(tmp_path.glob("events.*"))


def test_a_finished_stage_does_not_run_again(tmp_path):
    _fit(tmp_path)
    before = _lines(tmp_path)
    _fit(tmp_path, batches=lambda start: pytest.fail("a finished stage reads data"))
    assert _lines(tmp_path) == before


def test_slow_batches_appear_in_the_waiting_time(tmp_path):
    _fit(tmp_path, batches=lambda start: _batches(start, lambda step: time.sleep(0.1)))
    assert all(line["waiting_for_input"] > 0.5 for line in _lines(tmp_path)[1:])


def test_the_state_before_an_iteration_is_freed(tmp_path, monkeypatch):
    """The next state reuses its memory: a step holds one state, not two."""
    states = []
    pmap = parallel.pmap

    def recording_pmap(step):
        compiled = pmap(step)

        def call(state, batch, key_data):
            states.append(state)
            return compiled(state, batch, key_data)

        return call

    monkeypatch.setattr(parallel, "pmap", recording_pmap)
    _fit(tmp_path, checkpoint_every=0)  # on a CPU, a save still reads the memory of the state
    assert len(states) == 10
    assert all(leaf.is_deleted() for state in states for leaf in jax.tree.leaves(state))


def test_only_what_is_logged_is_fetched_from_the_devices(tmp_path, monkeypatch):
    trees, device_get = [], jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda tree: (trees.append(tree), device_get(tree))[1])
    _fit(tmp_path, steps=20, log_every=10, checkpoint_every=0)
    metrics = [tree for tree in trees if isinstance(tree, dict)]
    assert len(metrics) == 2
    assert len(trees) == 3  # the two logged ones and the first state


def test_stop_and_resume_give_the_same_weights(tmp_path):
    _fit(tmp_path / "whole")

    def kill(step):
        if step == 7:  # two batches are loaded ahead: this one is read during iteration 5
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=r"stopped after iteration \d of 10"):
        _fit(tmp_path / "halves", batches=lambda start: _batches(start, kill))
    assert 0 < Checkpoints(tmp_path / "halves" / "checkpoints").latest() < 10
    _fit(tmp_path / "halves")
    assert _saved(tmp_path / "halves", 10) == _saved(tmp_path / "whole", 10)


def test_nan_stops_training_before_it_is_saved(tmp_path):
    def poisoned(start):
        for batch in _batches(start):
            step = int(batch["image"].flat[0])
            yield batch | {"image": batch["image"].astype(np.float32) * (np.nan if step >= 5 else 1)}

    with pytest.raises(FloatingPointError, match=r"L_total is not finite at iteration .* of iteration 4"):
        _fit(tmp_path, batches=poisoned)
    assert np.isfinite(_saved(tmp_path, 4))


def test_the_best_on_validation_is_kept(tmp_path):
    scores = {2: 0.1, 4: 0.9, 6: 0.3, 8: 0.2, 10: 0.4}
    _fit(tmp_path, evaluate_every=2, evaluate=lambda state: {"val/mAP": scores[int(state.step)]})
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert (checkpoints.best(), checkpoints.latest()) == (4, 10)
    assert [line["val/mAP"] for line in _lines(tmp_path) if "val/mAP" in line] == list(scores.values())


def test_pictures_are_logged(tmp_path):
    _fit(tmp_path, pictures_every=5, sample=jnp.zeros((2, 4, 4, 3)))
    content = b"".join(path.read_bytes() for path in tmp_path.glob("events.*"))
    assert content.count(b"twice") >= 2


def _breaks_at(step: int, leaf: str):
    """Returns a stage whose metrics stay finite while its state becomes NaN in one iteration."""

    class Breaking(Line):
        def train_step(self, state, batch, key):
            state, _ = super().train_step(state, batch, key)
            broken = jnp.where(state.step == step, jnp.nan, 1.0)
            changed = (
                {"w": state.params["w"] * broken} if leaf == "params" else {"mean": state.batch_stats["mean"] * broken}
            )
            return state.replace(**{leaf: changed}), {"L_total": jnp.float32(1)}

    return Breaking(ConfigDict(), ConfigDict(), 0, {}, NONE, {})


@pytest.mark.parametrize(("leaf", "name"), [("params", "params/w"), ("batch_stats", "batch_stats/mean")])
def test_a_state_of_nan_with_finite_metrics_is_neither_validated_nor_saved(tmp_path, leaf, name):
    config = ConfigDict(CONFIG.to_dict() | {"steps": 20, "checkpoint_every": 3, "evaluate_every": 4})
    state = _init(None, {}).replace(batch_stats={"mean": jnp.ones(())})
    steps = []

    def evaluate(state):
        assert np.isfinite(state.params["w"])
        assert np.isfinite(state.batch_stats["mean"])
        steps.append(int(state.step))
        return {"val/mAP": 0.1 * len(steps)}

    message = rf"{name} is not finite after iteration 8; the last good checkpoint is of iteration 6. The same command"
    with pytest.raises(FloatingPointError, match=message):
        fit(_breaks_at(7, leaf), state, _batches, jax.random.key(0), config, tmp_path, evaluate=evaluate)
    assert steps == [4]
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert (checkpoints.latest(), checkpoints.best()) == (6, 4)
    for step in (4, 6):
        assert np.isfinite(checkpoints.restore(step, state).params["w"])
    checkpoints.close()


def test_metrics_of_nan_are_not_validated(tmp_path):
    """Metrics are logged one iteration late. Validation must not run before that."""

    def poisoned(start):
        for batch in _batches(start):
            step = int(batch["image"].flat[0])
            yield batch | {"image": batch["image"].astype(np.float32) * (np.inf if step == 3 else 1)}

    def evaluate(state):
        raise AssertionError(f"validated after iteration {int(state.step)}")

    with pytest.raises(FloatingPointError, match="L_total is not finite at iteration 4; no checkpoint has been saved"):
        _fit(tmp_path, batches=poisoned, evaluate=evaluate, evaluate_every=4, checkpoint_every=0, log_every=10)


def test_a_damaged_checkpoint_is_not_resumed_from(tmp_path, monkeypatch):
    _fit(tmp_path, steps=4)
    before = _lines(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "check", lambda self, step, state: None)
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        checkpoints.save(5, _init(None, {}).replace(params={"w": jnp.float32(jnp.inf)}))
        checkpoints.close()
    with pytest.raises(ValueError, match=r"checkpoints/5 is damaged: params/w is not finite; delete .* and train this"):
        _fit(tmp_path, batches=lambda start: pytest.fail("training continued"))
    assert _lines(tmp_path) == before


def test_a_line_has_the_averages_since_the_previous_line(tmp_path):
    _fit(tmp_path / "every", log_every=1)
    _fit(tmp_path / "fourth", log_every=4)
    single = [line["L_total"] for line in _lines(tmp_path / "every")]
    lines = _lines(tmp_path / "fourth")
    assert [line["step"] for line in lines] == [4, 8, 10]
    for line, part in zip(lines, (single[:4], single[4:8], single[8:]), strict=True):
        assert line["L_total"] == pytest.approx(np.mean(part), rel=1e-5)


def test_parameter_norms_are_those_after_the_iteration(tmp_path):
    _fit(tmp_path, log_every=10)
    (line,) = _lines(tmp_path)
    assert line["parameter_norm/w"] == pytest.approx(abs(_saved(tmp_path, 10)), rel=1e-6)


def test_tensorboard_has_the_config_as_text(tmp_path):
    _fit(tmp_path)
    content = b"".join(path.read_bytes() for path in tmp_path.glob("events.*"))
    assert b'"checkpoint_every": 4' in content


def test_picture_grids_show_their_sources():
    """A grid of combinations has the sources above and on the left. An interpolation has them at its ends."""
    sources = np.stack([np.full((4, 3, 3), shade, np.uint8) for shade in (10, 20)])
    grid = np.full((2, 2, 4, 3, 3), 99, np.uint8)
    page = picture_grid(grid, sources, "swapped")
    assert page.shape == (12 + 3 * 6, 3 * 5, 3)
    cells = [[page[12 + 6 * row, 5 * column, 0] for column in range(3)] for row in range(3)]
    assert cells == [[255, 10, 20], [10, 99, 99], [20, 99, 99]]
    page = picture_grid(np.full((2, 3, 4, 3, 3), 99, np.uint8), sources, "between")
    cells = [[page[12 + 6 * row, 5 * column, 0] for column in range(5)] for row in range(2)]
    assert cells == [[10, 99, 99, 99, 20], [20, 99, 99, 99, 10]]
    assert np.any(page[:12] != 255)


def test_the_last_iteration_is_saved_even_if_nothing_else_is(tmp_path):
    _fit(tmp_path, checkpoint_every=0, log_every=0)
    assert _saved(tmp_path, 10) != 0
