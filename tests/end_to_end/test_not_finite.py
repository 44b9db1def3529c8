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
