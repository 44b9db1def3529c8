"""The training loop with a stage of one parameter, which moves towards the mean of a batch plus noise."""

import dataclasses
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from rgbir_jax.errors import UserError
from rgbir_jax.training import parallel
from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.interrupt import Interrupted
from rgbir_jax.training.logging import Log, picture_grid
from rgbir_jax.training.loop import fit
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State
from tests.disks import file_size


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


def _fit(directory: Path, batches=_batches, stage=STAGE, **changes):
    config = ConfigDict(CONFIG.to_dict() | {k: v for k, v in changes.items() if k in CONFIG})
    others = {k: v for k, v in changes.items() if k not in CONFIG}
    fit(stage, _init(None, {}), batches, jax.random.key(0), config, directory, **others)


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
    assert len(trees) == 4  # the two logged ones, the first state, and whether the last iteration was skipped


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


def _poisoned(iterations, value=np.nan):
    """Returns batches of which those of some iterations (from 1) are not finite."""

    def batches(start):
        for batch in _batches(start):
            step = int(batch["image"].flat[0])
            yield batch | {"image": batch["image"].astype(np.float32) * (value if step + 1 in iterations else 1)}

    return batches


@pytest.mark.parametrize("log_every", [1, 3, 0])
def test_nan_stops_training_before_it_is_saved(tmp_path, log_every):
    with pytest.raises(FloatingPointError, match=r"L_total is not finite at iteration 6, and .* of iteration 4"):
        _fit(tmp_path, batches=_poisoned(range(6, 99)), patience=3, log_every=log_every, checkpoint_every=2)
    assert np.isfinite(_saved(tmp_path, 4))
    assert json.loads((tmp_path / "diverged.json").read_text())["message"].startswith("L_total is not finite at")


class Recording(Line):
    """Has a running statistic and an optimiser's state, which a step that is not finite would break."""

    def train_step(self, state, batch, key):
        mean = parallel.mean(jnp.mean(batch["image"].astype(jnp.float32)))
        after, metrics = super().train_step(state, batch, key)
        return after.replace(batch_stats={"mean": mean}, opt_state={"sum": state.opt_state["sum"] + mean}), metrics


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_iteration_that_is_not_finite_is_skipped_and_counted(tmp_path, value):
    """The state stays, and the number of iterations and with it the random numbers move on."""
    stage = Recording(ConfigDict(), ConfigDict(), 0, {}, NONE, {})
    start = _init(None, {}).replace(batch_stats={"mean": jnp.zeros(())}, opt_state={"sum": jnp.zeros(())})
    fit(stage, start, _poisoned({4, 5}, value), jax.random.key(0), CONFIG, tmp_path, patience=3)
    lines = _lines(tmp_path)
    assert [line["skipped"] for line in lines] == [0, 1, 1, 0, 0]
    assert all(np.isfinite(number) for line in lines for number in line.values())

    expected = start
    for step, batch in zip(range(1, 11), _batches(0), strict=False):
        if step in (4, 5):
            expected = expected.replace(step=expected.step + 1)
        else:
            local = jax.vmap(lambda image, state=expected: stage.train_step(state, {"image": image}, jax.random.key(0)),
                             axis_name=parallel.AXIS, out_axes=None)  # fmt: skip
            expected, metrics = local(batch["image"][None])
            if step == 3:  # the line of iterations 3 and 4 has the average of those that counted
                assert lines[1]["L_total"] == pytest.approx(float(metrics["L_total"]), rel=1e-5)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    restored = checkpoints.restore(10, start)
    for left, right in zip(jax.tree.leaves(restored), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5)


def test_without_a_nan_a_run_has_the_bits_of_its_steps(tmp_path):
    _fit(tmp_path)
    step, state = parallel.pmap(STAGE.train_step), parallel.replicate(jax.device_get(_init(None, {})))
    for _, batch in zip(range(10), _batches(0), strict=False):
        state, _ = step(state, parallel.shard(batch), parallel.replicate(jax.random.key(0)))
    assert float(state.params["w"]) == _saved(tmp_path, 10)


def test_skipped_iterations_that_are_not_in_a_row_do_not_stop_training(tmp_path):
    _fit(tmp_path, batches=_poisoned({2, 3, 5, 6, 8, 9}), patience=3, log_every=3)
    assert [line["skipped"] for line in _lines(tmp_path)] == [2, 2, 2, 0]
    with pytest.raises(FloatingPointError, match="at iteration 2, and the 3 iterations from there were skipped"):
        _fit(tmp_path / "stops", batches=_poisoned({2, 3, 4}), patience=3, log_every=10)  # seen six iterations later


def test_while_iterations_are_skipped_nothing_is_saved_or_validated(tmp_path):
    """The state may be what makes the numbers overflow: the checkpoints from before must stay."""
    steps = []

    def evaluate(state):
        steps.append(int(state.step))
        return {"val/mAP": 0.5}

    _fit(tmp_path, batches=_poisoned({4, 5, 6, 7}), evaluate=evaluate, evaluate_every=2, checkpoint_every=1)
    assert steps == [2, 8, 10]
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.newest_first() == [10, 9]
    with pytest.raises(FloatingPointError, match=r"at iteration 4, .* of iteration 3"):
        _fit(tmp_path / "stops", batches=_poisoned(range(4, 99)), patience=6, checkpoint_every=1, evaluate=evaluate,
             evaluate_every=3)  # fmt: skip
    assert Checkpoints(tmp_path / "stops" / "checkpoints").newest_first() == [3, 2]


def test_the_last_iteration_must_not_be_skipped(tmp_path):
    """Nobody would know whether the final state still gives finite numbers."""
    with pytest.raises(FloatingPointError, match=r"at iteration 10, and it was skipped; .* of iteration 8: the same"):
        _fit(tmp_path, batches=_poisoned({10}))
    _fit(tmp_path, batches=_poisoned({10}), steps=12)
    assert np.isfinite(_saved(tmp_path, 12))


def test_a_checkpoint_that_leads_to_nan_at_once_is_left_out(tmp_path):
    text = (
        r"at iteration 9, and it was skipped; the checkpoint of iteration 8 leads there at once and is renamed to "
        r"8.damaged; the last good checkpoint is of iteration 4: the same command with a lower "
        rf"--config.{tmp_path.name}.optimizers.GROUP.learning_rate trains on from it"
    )
    with pytest.raises(FloatingPointError, match=text):
        _fit(tmp_path, batches=_poisoned({9}), steps=9)
    assert Checkpoints(tmp_path / "checkpoints").newest_first() == [4]
    with pytest.raises(FloatingPointError, match="no checkpoint has been saved: the same command with a lower"):
        _fit(tmp_path / "first", batches=_poisoned(range(5, 99)), patience=2)


def test_divergence_names_terms_iteration_and_images(tmp_path):
    class Terms(Line):
        def train_step(self, state, batch, key):
            state, _ = super().train_step(state, batch, key)
            broken = jnp.where(state.step >= 6, jnp.inf, 1.0)
            late = jnp.where(state.step >= 7, jnp.nan, 1.0)
            return state, {"gradient_norm/w": broken, "L_total": broken, "L_cross": late, "L_simple": broken}

    stage = Terms(ConfigDict(), ConfigDict(), 0, {}, NONE, {})
    text = r"^L_simple, L_total, gradient_norm/w are not finite at iteration 6, and .* of iteration 6: 5a, 5b\.$"
    with pytest.raises(FloatingPointError, match=text):
        _fit(tmp_path, stage=stage, patience=2, images=lambda step: [f"{step}a", f"{step}b"])


def test_a_replay_shows_the_operation(tmp_path):
    class Rooted(Line):
        def train_step(self, state, batch, key):
            after, metrics = super().train_step(state, batch, key)
            root = jax.jit(jnp.sqrt)(20 - jnp.max(batch["image"].astype(jnp.float32)) * 4)  # the line that is shown
            return after, metrics | {"L_root": parallel.mean(root)}

    stage = Rooted(ConfigDict(), ConfigDict(), 0, {}, NONE, {})
    text = r"L_root is not finite at iteration 7,.*: .*nan.* sqrt, in `root = .*sqrt.*` \(.*test_loop.py, line \d+\)"
    with pytest.raises(FloatingPointError, match=text):
        _fit(tmp_path, stage=stage, patience=2, debug_nans=True)


def test_a_replay_shows_the_operation_of_a_gradient(tmp_path):
    class Slope(Line):
        def train_step(self, state, batch, key):
            after, metrics = super().train_step(state, batch, key)
            x = jnp.maximum(5 - jnp.max(batch["image"].astype(jnp.float32)), 0)
            slope = jax.grad(lambda x: jnp.linalg.norm(jnp.stack([x, x])))(x)
            return after, metrics | {"gradient_norm/x": parallel.mean(slope)}

    stage = Slope(ConfigDict(), ConfigDict(), 0, {}, NONE, {})
    text = (
        r"gradient_norm/x is not finite at iteration 6,.* Replayed: .* in the gradient of `.*linalg.norm.*test_loop.py"
    )
    with pytest.raises(FloatingPointError, match=text):
        _fit(tmp_path, stage=stage, patience=2, debug_nans=True)


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

    message = rf"{name} is not finite after iteration 8; the last good checkpoint is of iteration 6: the same command"
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

    def evaluate(state):
        raise AssertionError(f"validated after iteration {int(state.step)}")

    with pytest.raises(FloatingPointError, match="L_total is not finite at iteration 4, and it was skipped; no"):
        _fit(tmp_path, batches=_poisoned({4}, np.inf), evaluate=evaluate, evaluate_every=4, checkpoint_every=0,
             log_every=10, patience=1)  # fmt: skip


def test_a_damaged_checkpoint_is_not_resumed_from(tmp_path, monkeypatch, capsys):
    _fit(tmp_path / "whole")
    _fit(tmp_path / "run", steps=4)
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "check", lambda self, step, state: None)
        checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
        checkpoints.save(5, _init(None, {}).replace(params={"w": jnp.float32(jnp.inf)}))
        checkpoints.close()
    _fit(tmp_path / "run")
    text = r"checkpoints/5 is damaged: params/w is not finite; that of iteration 4 is used instead\."
    assert re.search(text, capsys.readouterr().out)
    assert _saved(tmp_path / "run", 10) == _saved(tmp_path / "whole", 10)
    assert (tmp_path / "run" / "checkpoints" / "5.damaged").is_dir()


def test_a_run_whose_only_checkpoint_is_damaged_is_not_started_again(tmp_path):
    """Starting from the beginning is the user's decision."""
    _fit(tmp_path, steps=4)
    before = _lines(tmp_path)
    (tmp_path / "checkpoints" / "4" / "meta" / "metadata").write_text("{")
    with pytest.raises(UserError, match=r"checkpoints/4 is damaged: meta .* delete .* and train this stage again"):
        _fit(tmp_path, batches=lambda start: pytest.fail("training continued"))
    assert _lines(tmp_path) == before


def test_a_finished_stage_whose_last_checkpoint_is_damaged_trains_its_last_iterations_again(tmp_path):
    _fit(tmp_path)
    w = _saved(tmp_path, 10)
    shutil.rmtree(tmp_path / "checkpoints" / "10" / "state")
    _fit(tmp_path)
    assert _saved(tmp_path, 10) == w


def test_a_full_disk_stops_the_log_with_a_sentence(tmp_path):
    log = Log(tmp_path, CONFIG)
    with file_size(900):
        log.scalars(1, {"L_total": 1.0})
        with pytest.raises(UserError, match=rf"{tmp_path}/events.out.tfevents.* cannot be written \(File too large\)"):
            log.picture(1, "swapped", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    log.close()
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    log = Log(tmp_path, CONFIG)
    with pytest.raises(UserError, match=rf"{tmp_path}/metrics.jsonl cannot be written \(No space left on device\)"):
        log.scalars(1, {"L_total": 1.0})
    log.close()


def test_a_cut_line_of_the_log_stays_the_only_one_that_is_lost(tmp_path):
    _fit(tmp_path, steps=4)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "L_tot')
    _fit(tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert lines.pop(2) == '{"step": 5, "L_tot'
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6, 8, 10]


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
