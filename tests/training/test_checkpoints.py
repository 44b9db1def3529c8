import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.state import State


def _state(step: int, width: int = 3) -> State:
    w = jnp.arange(width, dtype=jnp.float32) + step
    return State(jnp.int32(step), {"G": {"w": w}}, {}, {"generation": (jnp.int32(step),)}, {})


@pytest.fixture
def checkpoints(tmp_path):
    opened = Checkpoints(tmp_path / "checkpoints")
    yield opened
    opened.close()


def test_nothing_is_saved_yet(checkpoints):
    assert checkpoints.latest() is None
    assert checkpoints.best() is None


def test_keeps_the_newest_and_the_best(checkpoints, tmp_path):
    for step, score in [(1, 0.1), (2, 0.5), (3, None), (4, 0.3), (5, None)]:
        checkpoints.save(step, _state(step), score)
    checkpoints.wait()
    assert (checkpoints.latest(), checkpoints.best()) == (5, 2)
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    assert kept == {"2", "5"}


def test_the_best_of_an_earlier_run_is_kept(tmp_path):
    for step, score in [(1, 0.5), (2, 0.3), (3, None)]:
        opened = Checkpoints(tmp_path / "checkpoints")
        opened.save(step, _state(step), score)
        opened.close()
    opened = Checkpoints(tmp_path / "checkpoints")
    assert (opened.latest(), opened.best()) == (3, 1)
    opened.close()


def test_without_scores_the_newest_is_the_best(checkpoints):
    for step in (1, 2):
        checkpoints.save(step, _state(step))
    assert checkpoints.best() == 2


def test_restores_what_was_saved(checkpoints):
    checkpoints.save(7, _state(7))
    checkpoints.wait()
    restored = checkpoints.restore(7, jax.eval_shape(lambda: _state(0)))
    assert jax.tree.structure(restored) == jax.tree.structure(_state(7))
    for left, right in zip(jax.tree.leaves(restored), jax.tree.leaves(_state(7)), strict=True):
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype


def test_saving_a_step_again_changes_nothing(checkpoints):
    checkpoints.save(1, _state(1))
    checkpoints.save(1, _state(9))
    checkpoints.wait()
    assert checkpoints.restore(1, _state(0)).step == 1


def test_another_model_is_named(checkpoints):
    checkpoints.save(1, _state(1))
    checkpoints.wait()
    with pytest.raises(ValueError, match=r"another model: it has params/G/w of shape \(3,\), .* makes .*\(4,\)"):
        checkpoints.restore(1, _state(1, width=4))
    other = _state(1).replace(params={"D": {"w": jnp.zeros(3)}})
    with pytest.raises(ValueError, match=r"it has no params/D/w"):
        checkpoints.restore(1, other)
