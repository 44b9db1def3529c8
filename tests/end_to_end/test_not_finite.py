"""A network with NaN from a file, a disk or a learning rate is not trained, not saved and not scored."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from rgbir_jax import stages
from rgbir_jax.commands import recipe, scoring
from rgbir_jax.models import pretrained
from rgbir_jax.run import load
from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.state import first_not_finite
from tests.end_to_end.recipe import get_config
from tests.models.test_pretrained import save


def _config(drawn, **changes):
    config = get_config("teacher")
    config.data_dir = str(drawn)
    config.teacher.networks.E_a.pool = "avg"  # a mean over a ReLU, which can drop NaN
    config.teacher.update({"steps": 4, "log_every": 1, "evaluate_every": 0, "checkpoint_every": 1} | changes)
    return config


def _restored(config, workdir):
    """Returns (best iteration, its State), without the check."""
    shapes = jax.eval_shape(stages.build(config, "teacher", 6).init, jax.random.key(0), {})
    with closing(Checkpoints(Path(workdir) / "teacher" / "checkpoints")) as checkpoints:
        step = checkpoints.best()
        return step, step and checkpoints.restore(step, shapes)


# ---------------------------------------------------------------- a weights file


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layer2.0.bn1.weight", np.nan, r"in layer2\.0\.bn1\.weight, 1 of its \d+ numbers are not finite"),
        ("layer2.0.bn1.running_var", -1.0, r"in layer2\.0\.bn1\.running_var, 1 of its \d+ variances are negative"),
    ],
)
def test_a_weights_file(drawn, tmp_path, name, value, message):
    config = _config(drawn)
    shapes, _ = stages.build(config, "teacher", 6).networks["E_a"].shapes()
    trunk = flatten_dict({kind: tree["trunk"] for kind, tree in shapes.items()})
    tensors = {
        pretrained._torchvision_name(leaf): np.ones(pretrained._torch_shape(spec.shape), np.float32)
        for leaf, spec in trunk.items()
    }
    tensors[name][3] = value
    config.resnet50 = str(save(tmp_path / "resnet50.pth", tensors))
    with pytest.raises(ValueError, match=message):
        recipe.train(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- a checkpoint


@pytest.fixture(scope="module")
def trained(drawn, tmp_path_factory):
    """Trains a teacher for two iterations. Returns the run's folder."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    recipe.train(_config(drawn, steps=2), str(workdir))
    return workdir


@pytest.fixture
def damaged(drawn, trained, tmp_path, monkeypatch):
    """Copies that run and puts one NaN into its checkpoint. Returns the copy's folder."""
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    config = _config(drawn)
    step, state = _restored(config, workdir)
    params = state.params
    kernel = params["E_a"]["trunk"]["conv1"]["kernel"]
    params["E_a"]["trunk"]["conv1"]["kernel"] = kernel.at[0, 0, 0, 0].set(jnp.nan)
    folder = workdir / "teacher" / "checkpoints"
    shutil.rmtree(folder)
    with monkeypatch.context() as patched, closing(Checkpoints(folder)) as checkpoints:
        patched.setattr(Checkpoints, "check", lambda self, step, state: None)
        checkpoints.save(step, state)
    return workdir


MESSAGE = r"checkpoints/2 is damaged: params/E_a/trunk/conv1/kernel is not finite; delete .*/run/teacher and train"


def test_a_damaged_checkpoint_is_not_trained_further(drawn, damaged):
    with pytest.raises(ValueError, match=MESSAGE):
        recipe.train(_config(drawn), str(damaged))


def test_a_damaged_checkpoint_is_not_taken_by_another_run(drawn, damaged, tmp_path):
    config = _config(drawn, from_run=str(damaged))
    with pytest.raises(ValueError, match=MESSAGE):
        recipe.train(config, str(tmp_path / "other"))


def test_a_damaged_checkpoint_is_not_scored(damaged):
    with pytest.raises(ValueError, match=MESSAGE):
        scoring.score(load(str(damaged)))
    assert not (damaged / "scores.json").exists()


# ---------------------------------------------------------------- a learning rate


@pytest.mark.parametrize(("groups", "evaluate_every"), [(("trunk",), 0), (("trunk", "head"), 1)])
def test_a_learning_rate_that_is_too_high(drawn, tmp_path, groups, evaluate_every):
    """If only the trunk's rate is too high, losses can stay finite: the pooling may drop the NaN of the trunk."""
    config = _config(drawn, steps=12, evaluate_every=evaluate_every)
    for group in groups:
        config.teacher.optimizers[group].learning_rate = 1e20
    with pytest.raises(FloatingPointError, match="finite"):
        recipe.train(config, str(tmp_path))
    step, state = _restored(config, tmp_path)
    assert step is None or (step < 4 and first_not_finite(state) is None)
    lines = [json.loads(line) for line in (tmp_path / "teacher" / "metrics.jsonl").read_text().splitlines()]
    assert not any("val/mAP" in line for line in lines)
    assert all(np.isfinite(value) for line in lines for value in line.values())


def _diverging(drawn, rate, **changes):
    """Returns a recipe whose learning rate is 1e26 times as high after the fourth iteration."""
    config = _config(drawn, steps=8, **changes)
    config.patience_nonfinite = 2
    config.teacher.decay.update({"at": (4,), "factor": 1e26, "warmup": 0})
    for group in config.teacher.optimizers:
        config.teacher.optimizers[group].learning_rate = rate
    return config


def test_a_run_that_diverged_trains_on_from_its_last_good_checkpoint_with_another_rate(drawn, tmp_path, capsys):
    run = tmp_path / "run"
    text = (
        r"L_id.* not finite at iteration 6, and the 2 iterations from there were skipped; the checkpoint of iteration "
        r"5 leads there at once and is renamed to 5.damaged; the last good checkpoint is of iteration 4: the same "
        r"command with a lower --config.teacher.optimizers.GROUP.learning_rate trains on from it. "
        r"The images of iteration 6: (cam\d/\d{4}/\d{4}.jpg, ){15}cam\d/\d{4}/\d{4}.jpg. "
        r"Replayed: .* in .*rgbir_jax.*, line \d+\)\.$"
    )
    with pytest.raises(FloatingPointError, match=text):
        recipe.train(_diverging(drawn, 1e-4), str(run), debug_nans=True)
    other = _diverging(drawn, 1e-30)
    other.teacher.optimizers.head.l2 = 0.1
    with pytest.raises(ValueError, match=r"started with config.teacher.optimizers.head.l2"):
        recipe.train(other, str(run))
    before = [json.loads(line) for line in (run / "teacher" / "metrics.jsonl").read_text().splitlines()]
    capsys.readouterr()
    recipe.train(_diverging(drawn, 1e-30), str(run))
    assert "trained further with config.teacher.optimizers.head.learning_rate = 1e-30; up to now it was 0.0001." in (
        capsys.readouterr().out
    )
    lines = [json.loads(line) for line in (run / "teacher" / "metrics.jsonl").read_text().splitlines()][len(before) :]
    assert [line["step"] for line in lines] == [5, 6, 7, 8]
    assert load(run).config.teacher.optimizers.head.learning_rate == 1e-30
    with pytest.raises(ValueError, match=r"started with config.teacher.optimizers.head.learning_rate = 1e-30"):
        recipe.train(_diverging(drawn, 1e-31), str(run))  # it is trained and no longer in danger


def test_a_stage_that_diverged_before_its_first_checkpoint_starts_again_with_another_rate(drawn, tmp_path):
    config = _config(drawn, steps=3, checkpoint_every=0)
    config.patience_nonfinite = 1
    for group in config.teacher.optimizers:
        config.teacher.optimizers[group].learning_rate = 1e20
    with pytest.raises(
        FloatingPointError, match=r"no checkpoint has been saved: the same command with a lower --config"
    ):
        recipe.train(config, str(tmp_path))
    for group in config.teacher.optimizers:
        config.teacher.optimizers[group].learning_rate = 1e-3
    recipe.train(config, str(tmp_path))
    assert _restored(config, tmp_path)[0] == 3
