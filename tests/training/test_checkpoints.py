import os
import re
import shutil
import subprocess
import sys
from contextlib import closing

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
    manager = Checkpoints(tmp_path / "checkpoints")
    yield manager
    manager.close()


def test_nothing_is_saved_yet(checkpoints):
    assert checkpoints.latest() is None
    assert checkpoints.best() is None


def test_keeps_the_newest_and_the_best(checkpoints, tmp_path):
    for step, score in [(1, 0.1), (2, 0.5), (3, None), (4, 0.3), (5, None)]:
        checkpoints.save(step, _state(step), score)
    checkpoints.wait()
    assert (checkpoints.latest(), checkpoints.best()) == (5, 2)
    steps = {path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    assert steps == {"2", "5"}


def test_the_best_of_an_earlier_run_is_kept(tmp_path):
    for step, score in [(1, 0.5), (2, 0.3), (3, None)]:
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        checkpoints.save(step, _state(step), score)
        checkpoints.close()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert (checkpoints.latest(), checkpoints.best()) == (3, 1)
    checkpoints.close()


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


def _broken(step: int) -> State:
    return _state(step).replace(params={"G": {"w": jnp.array([1.0, jnp.nan, 3.0])}})


@pytest.fixture
def unchecked(monkeypatch):
    """Lets any state be saved."""
    monkeypatch.setattr(Checkpoints, "check", lambda self, step, state: None)


def test_nan_is_not_saved(checkpoints, tmp_path):
    with pytest.raises(FloatingPointError, match=r"params/G/w is not finite after iteration 1; no checkpoint has been"):
        checkpoints.save(1, _broken(1), 0.9)
    checkpoints.save(2, _state(2), 0.1)
    text = r"params/G/w is not finite after iteration 3; the last good checkpoint is of iteration 2. The same command"
    with pytest.raises(FloatingPointError, match=text):
        checkpoints.save(3, _broken(3), 0.9)
    checkpoints.wait()
    assert (checkpoints.latest(), checkpoints.best()) == (2, 2)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"2"}


def test_nan_is_not_restored(checkpoints, tmp_path, unchecked):
    checkpoints.save(1, _broken(1))
    checkpoints.wait()
    text = rf"{tmp_path}/checkpoints/1 is damaged: params/G/w is not finite; delete {tmp_path} and train this stage"
    with pytest.raises(ValueError, match=text):
        checkpoints.restore(1, _state(0))


def test_nan_is_not_restored_in_part(checkpoints, tmp_path, unchecked):
    checkpoints.save(1, _broken(1))
    checkpoints.wait()
    with closing(Checkpoints(tmp_path / "checkpoints")) as other:
        with pytest.raises(ValueError, match="params/G/w is not finite"):
            other.restore_part(1, {"params": {"G": {"w": jax.ShapeDtypeStruct((3,), jnp.float32)}}})
        part = other.restore_part(1, {"step": jax.ShapeDtypeStruct((), jnp.int32)})  # only what is read is checked
        assert part["step"] == 1


def test_a_damaged_checkpoint_can_be_deleted_to_use_another_one(tmp_path, unchecked):
    folder = tmp_path / "checkpoints"
    checkpoints = Checkpoints(folder)
    checkpoints.save(1, _state(1), 0.5)
    checkpoints.save(2, _broken(2), 0.4)
    checkpoints.wait()
    with pytest.raises(ValueError, match=r"checkpoints/2 is damaged: .* delete that folder to use .* of iteration 1 "):
        checkpoints.restore(2, _state(0))
    checkpoints.close()
    shutil.rmtree(folder / "2")
    checkpoints = Checkpoints(folder)
    assert (checkpoints.latest(), checkpoints.best()) == (1, 1)
    assert checkpoints.restore(1, _state(0)).step == 1
    checkpoints.close()


def _array_file(folder, step: int):
    """Returns the largest file, which has the arrays."""
    return max(
        (path for path in (folder / str(step)).rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )


def test_a_flipped_bit_on_disk(tmp_path):
    """Turns 1.5 into NaN. Orbax does not notice: the array is written without a checksum."""
    rng = np.random.default_rng(0)
    w = rng.integers(0, 2**32, 5000, np.uint32).view(np.float32)  # random bits, which cannot be compressed
    w[~np.isfinite(w)] = 0
    w[2000:2002] = 1.5, -1.2345678
    state = _state(1).replace(params={"G": {"w": jnp.asarray(w)}})
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, state)
    checkpoints.wait()
    file = _array_file(tmp_path / "checkpoints", 1)
    content = bytearray(file.read_bytes())
    place = content.index(w[2000:2002].tobytes())
    content[place + 3] ^= 0b0100_0000
    file.write_bytes(content)
    with pytest.raises(ValueError, match="params/G/w is not finite"):
        checkpoints.restore(1, state)
    checkpoints.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "meta/metadata").write_text('{"shapes": {"params'),
        lambda folder: (folder / "state/manifest.ocdbt").write_bytes(b"?"),
        lambda folder: (folder / "state/_METADATA").unlink(),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax reads that finish later
def test_files_that_cannot_be_read(checkpoints, tmp_path, damage):
    checkpoints.save(1, _state(1))
    checkpoints.wait()
    damage(tmp_path / "checkpoints/1")
    text = rf"{tmp_path}/checkpoints/1 cannot be read \(.*\). If it is damaged, delete {tmp_path} and train this stage"
    with pytest.raises(ValueError, match=text):
        checkpoints.restore(1, _state(0))


READ = """
import sys, jax.numpy as jnp
from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.state import State
try:
    Checkpoints(sys.argv[1]).restore(1, State(jnp.int32(0), {"G": {"w": jnp.zeros(5000)}}, {}, {}, {}))
except ValueError as error:
    print(error)
"""


def test_an_array_that_cannot_be_read(tmp_path):
    """Uses a separate process: Orbax leaves unfinished reads behind, and pytest would report them later."""
    w = jax.random.normal(jax.random.key(0), (5000,))
    with closing(Checkpoints(tmp_path / "checkpoints")) as checkpoints:
        checkpoints.save(1, State(jnp.int32(1), {"G": {"w": w}}, {}, {}, {}))
    file = _array_file(tmp_path / "checkpoints", 1)
    file.write_bytes(file.read_bytes()[:1000])
    command = [sys.executable, "-c", READ, tmp_path / "checkpoints"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run(command, env=environment, check=True, text=True, stdout=subprocess.PIPE).stdout
    assert re.fullmatch(rf"the checkpoint {tmp_path}/checkpoints/1 cannot be read \(.*\). If it is damaged, .*\n", out)


def test_a_score_that_cannot_be_read(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, _state(1), 0.5)
    checkpoints.close()
    score = tmp_path / "checkpoints/1/metrics/metrics"
    score.write_text('{"score": 0.')
    with pytest.raises(ValueError, match=rf"{score} is damaged \(.*\); delete the file\. Its"):
        Checkpoints(tmp_path / "checkpoints")
    score.unlink()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.best() == 1
    checkpoints.close()
