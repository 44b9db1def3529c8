import gc
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.errors import UserError
from rgbir_jax.training.checkpoints import Checkpoints, DamagedError, fingerprint
from rgbir_jax.training.state import State
from tests.disks import file_size

# Orbax leaves reads behind that failed on a damaged file, and they are reported when they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected():
    yield
    gc.collect()


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


def test_keeps_the_two_newest_and_the_best(checkpoints, tmp_path):
    for step, score in [(1, 0.1), (2, 0.5), (3, None), (4, 0.3), (5, None)]:
        checkpoints.save(step, _state(step), score)
    checkpoints.wait()
    assert (checkpoints.latest(), checkpoints.best()) == (5, 2)
    steps = {path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    assert steps == {"2", "4", "5"}


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
    text = r"params/G/w is not finite after iteration 3; the last good checkpoint is of iteration 2: the same command"
    with pytest.raises(FloatingPointError, match=text):
        checkpoints.save(3, _broken(3), 0.9)
    checkpoints.wait()
    assert (checkpoints.latest(), checkpoints.best()) == (2, 2)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"2"}


def test_nan_is_not_restored(checkpoints, tmp_path, unchecked):
    checkpoints.save(1, _broken(1))
    checkpoints.wait()
    with pytest.raises(DamagedError, match=rf"{tmp_path}/checkpoints/1 is damaged: params/G/w is not finite"):
        checkpoints.restore(1, _state(0))


def test_nan_is_not_restored_in_part(checkpoints, tmp_path, unchecked):
    checkpoints.save(1, _broken(1))
    checkpoints.wait()
    with closing(Checkpoints(tmp_path / "checkpoints")) as other:
        with pytest.raises(ValueError, match="params/G/w is not finite"):
            other.restore_part(1, {"params": {"G": {"w": jax.ShapeDtypeStruct((3,), jnp.float32)}}})
        part = other.restore_part(1, {"step": jax.ShapeDtypeStruct((), jnp.int32)})  # only what is read is checked
        assert part["step"] == 1


def _newest(folder, like):
    """Opens the folder as a resumed run does. Returns (iteration, w)."""
    checkpoints = Checkpoints(folder)
    step, state = checkpoints.first_intact(checkpoints.newest_first(), lambda step: checkpoints.restore(step, like))
    return step, np.asarray(state.params["G"]["w"])


def _large(step: int) -> State:
    """Returns a state of random bits, which cannot be compressed."""
    w = np.random.default_rng(step).integers(0, 2**32, 5000, np.uint32).view(np.float32)
    w[~np.isfinite(w)] = 0
    return _state(step).replace(params={"G": {"w": jnp.asarray(w)}})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Saves iterations 1 to 3. Returns their folder, in which 2 and 3 are left."""
    folder = tmp_path_factory.mktemp("whole") / "checkpoints"
    with closing(Checkpoints(folder)) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, _large(step))
    return folder


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _array_file(folder):
    """Returns the largest file, which has the arrays."""
    return max(_files(folder), key=lambda path: path.stat().st_size)


def _flip(file, place: int, bit: int = 6):
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _zero(path):
    path.write_bytes(bytes(path.stat().st_size))


# Orbax can do without these: the arrays are whole, as their checksums show.
DISPENSABLE = {"_sharding", "process_0", "commit_success.txt", "_CHECKPOINT_METADATA"}


@pytest.mark.parametrize("damage", [_cut, _zero, Path.unlink])
def test_if_a_file_of_the_newest_is_damaged_the_one_before_serves(whole, tmp_path, capsys, damage):
    """The newest may only serve if it has every bit."""
    for number in range(len(_files(whole / "3"))):
        folder = tmp_path / str(number) / "checkpoints"
        shutil.copytree(whole, folder)
        file = _files(folder / "3")[number]
        damage(file)
        step, w = _newest(folder, _large(0))
        np.testing.assert_array_equal(w, _large(step).params["G"]["w"])
        printed = capsys.readouterr().out
        if step == 3:
            assert not printed
            assert file.name in DISPENSABLE or "ocdbt.process_0" in str(file), file
        else:
            assert re.fullmatch(
                rf"the checkpoint {folder}/3 is damaged: .*; that of iteration 2 is used instead.\n", printed
            )
        with closing(Checkpoints(folder)) as checkpoints:  # training goes from there
            checkpoints.open(step)
            checkpoints.save(4, _large(4))
        assert _newest(folder, _large(0))[0] == 4


@pytest.mark.parametrize("part", ["state", "meta", "metrics", "."])
def test_if_a_part_of_the_newest_is_absent_the_one_before_serves(whole, tmp_path, part):
    folder = tmp_path / "checkpoints"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "3" / part)
    (folder / "3").mkdir(exist_ok=True)
    assert _newest(folder, _large(0))[0] == 2
    with closing(Checkpoints(folder)) as checkpoints:
        checkpoints.open(2)
        checkpoints.save(3, _large(3))
    assert _newest(folder, _large(0))[0] == 3
    assert (folder / "3.damaged").is_dir()


def test_a_flipped_bit_in_the_arrays_is_noticed(whole, tmp_path):
    """Orbax does not notice: the array is written without a checksum."""
    folder = tmp_path / "checkpoints"
    shutil.copytree(whole, folder)
    file = _array_file(folder / "3")
    some = np.asarray(_large(3).params["G"]["w"])[2000:2002].tobytes()
    _flip(file, file.read_bytes().index(some), bit=0)
    with pytest.raises(DamagedError, match="params/G/w has changed on disk"):
        Checkpoints(folder).restore(3, _large(0))
    with pytest.raises(DamagedError, match="params/G/w has changed on disk"):
        Checkpoints(folder).restore_part(3, {"params": {"G": {"w": jax.ShapeDtypeStruct((5000,), jnp.float32)}}})
    assert _newest(folder, _large(0))[0] == 2


def test_a_flipped_bit_anywhere_changes_nothing_or_is_noticed(whole, tmp_path):
    """Flips a bit in every part of every small file and in some places of the large ones."""
    for number, name in enumerate(path.relative_to(whole) for path in _files(whole / "3")):
        size = (whole / name).stat().st_size
        for place in range(size // 7, size, max(size // 5, 1)):
            folder = tmp_path / f"{number}_{place}" / "checkpoints"
            shutil.copytree(whole, folder)
            _flip(folder / name, place, bit=place % 7)
            step, w = _newest(folder, _large(0))
            np.testing.assert_array_equal(w, _large(step).params["G"]["w"], err_msg=str(name))


def test_the_best_is_used_only_if_it_is_whole(tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    with closing(Checkpoints(folder)) as checkpoints:
        for step, score in [(1, 0.9), (2, 0.5), (3, None)]:
            checkpoints.save(step, _state(step), score)
    assert Checkpoints(folder).best_first() == [1, 2, 3]
    shutil.rmtree(folder / "1" / "state")
    checkpoints = Checkpoints(folder)
    step, _ = checkpoints.first_intact(checkpoints.best_first(), lambda step: checkpoints.restore(step, _state(0)))
    assert step == 2
    assert "checkpoints/1 is damaged: state cannot be read" in capsys.readouterr().out


def test_a_changed_score_is_noticed(tmp_path):
    """It would make another checkpoint the best."""
    folder = tmp_path / "checkpoints"
    with closing(Checkpoints(folder)) as checkpoints:
        checkpoints.save(1, _state(1), 0.5)
        checkpoints.save(2, _state(2), 0.25)
    score = folder / "2" / "metrics" / "metrics"
    score.write_text(score.read_text().replace("0.25", "0.65"))
    assert Checkpoints(folder).best() == 1


def test_if_all_are_damaged_nothing_is_used(whole, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(whole, folder)
    for step in (2, 3):
        (folder / str(step) / "meta" / "metadata").write_text("")
    with pytest.raises(UserError, match=rf"{folder}/3 is damaged: .*; delete {tmp_path} and train this stage again."):
        _newest(folder, _large(0))


def test_a_checkpoint_of_an_older_version_has_no_checksums(whole, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(whole, folder)
    meta = folder / "3" / "meta" / "metadata"
    meta.write_text(json.dumps({"shapes": json.loads(meta.read_text())["shapes"]}))
    assert _newest(folder, _large(0))[0] == 3


def test_a_checkpoint_keeps_what_its_stage_was_trained_from(tmp_path):
    """A changed record is noticed as any other damage; then the one before is read."""
    folder = tmp_path / "checkpoints"
    for step, seed in [(1, 3), (2, 4)]:
        with closing(Checkpoints(folder, {"config": {"seed": seed, 2: (1, 2), 10: 0}})) as checkpoints:
            checkpoints.save(step, _state(step))
    assert Checkpoints(folder).origin() == {"config": {"seed": 4, "2": [1, 2], "10": 0}}
    meta = folder / "2" / "meta" / "metadata"
    meta.write_text(meta.read_text().replace('"seed": 4', '"seed": 5'))
    assert Checkpoints(folder).origin()["config"]["seed"] == 3
    with pytest.raises(DamagedError, match="meta or metrics have changed on disk"):
        Checkpoints(folder).restore(2, _state(0))
    assert Checkpoints(tmp_path / "absent").origin() == {}


def test_states_of_other_bits_have_other_fingerprints():
    assert fingerprint(_state(1)) == fingerprint(_state(1))
    assert fingerprint(_state(1)) != fingerprint(_state(2))
    assert len(fingerprint(_state(1))) == 8


def test_reading_writes_nothing(whole, tmp_path):
    def content(folder):
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    before = content(whole)
    _newest(whole, _large(0))
    assert content(whole) == before
    assert Checkpoints(tmp_path / "absent").latest() is None
    assert not (tmp_path / "absent").exists()


# ---------------------------------------------------------------- a disk that cannot be written


@pytest.mark.parametrize("limit", [0, 100, 3000, 10_000])
def test_a_full_disk(tmp_path, limit):
    """The checkpoint from before stays, and can be resumed from; a later attempt succeeds."""
    folder = tmp_path / "checkpoints"
    checkpoints = Checkpoints(folder)
    checkpoints.save(1, _large(1))
    checkpoints.wait()
    text = rf"{folder} cannot be written \(File too large.*\); make room .* resumes from iteration 1\."

    def save():
        checkpoints.save(2, _large(2))
        checkpoints.wait()

    with file_size(limit), pytest.raises(UserError, match=text):
        save()
    assert checkpoints.latest() == 1
    checkpoints.close()
    with closing(Checkpoints(folder)) as checkpoints:
        assert checkpoints.newest_first() == [1]
        checkpoints.open(1)
        checkpoints.save(2, _large(2))
    assert _newest(folder, _large(0))[0] == 2
    assert not list(folder.glob("*tmp*"))


UNUSABLE = """
import sys, jax.numpy as jnp
from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.state import State
checkpoints = Checkpoints(sys.argv[1])
try:
    checkpoints.save(1, State(jnp.int32(0), {"G": {"w": jnp.zeros(5000)}}, {}, {}, {}))
    checkpoints.close()
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("place", ["checkpoints", "checkpoints/1.orbax-checkpoint-tmp"])
def test_a_file_in_the_place_of_a_folder(tmp_path, place):
    """The program ends; threads that wait for the folder would keep it alive."""
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).touch()
    (tmp_path / place).chmod(0)
    command = [sys.executable, "-c", UNUSABLE, tmp_path / "checkpoints"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run(command, env=environment, check=True, text=True, stdout=subprocess.PIPE, timeout=100).stdout
    if place == "checkpoints":
        assert out.startswith(f"{tmp_path}/checkpoints cannot be written (File exists); make room on its disk")
    else:  # Orbax removes what is in the way of a temporary folder
        assert out == ""
