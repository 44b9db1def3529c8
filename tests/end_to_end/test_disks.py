"""Disks that are full or cannot be written: one sentence, nothing is lost, and later the same command continues."""

import shutil
from pathlib import Path

import pytest

from rgbir_jax.commands import recipe, scoring
from rgbir_jax.errors import UserError
from rgbir_jax.files import locked
from rgbir_jax.run import load
from tests.disks import file_size, read_only
from tests.end_to_end.conftest import RECIPE, run
from tests.end_to_end.recipe import get_config


def _config(drawn, **changes):
    config = get_config("teacher")
    config.data_dir = str(drawn)
    config.teacher.update({"steps": 2, "log_every": 1, "evaluate_every": 0, "checkpoint_every": 1} | changes)
    return config


@pytest.fixture(scope="module")
def finished(drawn, tmp_path_factory):
    """Trains a teacher for two iterations. Returns the run's folder."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    recipe.train(_config(drawn), str(folder))
    return folder


def test_a_finished_run_is_looked_at_on_a_disk_that_cannot_be_written(drawn, finished, capsys):
    config = _config(drawn)
    with read_only(finished):
        recipe.train(config, str(finished))
        assert f"{finished} is trained" in capsys.readouterr().out
        scored = scoring.compute(load(finished))
        assert scored.scores["steps"] == 2
        with pytest.raises(
            UserError, match=rf"{finished}/scores.json cannot be written \(Read-only .*copy {finished} to"
        ):
            scoring.write(scored)


def test_a_run_cannot_begin_on_such_a_disk(drawn, tmp_path):
    (tmp_path / "disk").mkdir()
    with (
        read_only(tmp_path / "disk"),
        pytest.raises(UserError, match=rf"{tmp_path}/disk/run cannot be written \(Read-only file system\); make room"),
    ):
        recipe.train(_config(drawn), str(tmp_path / "disk" / "run"))


def _file_instead(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _folder_instead(path: Path) -> None:
    (path / "content").mkdir(parents=True)


def _full(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/dev/full")


@pytest.mark.parametrize(
    ("place", "obstacle"),
    [
        (".", _file_instead),
        ("config.json", _folder_instead),
        ("run.json", _folder_instead),
        ("teacher", _file_instead),
        ("teacher/checkpoints", _file_instead),
        ("teacher/metrics.jsonl", _folder_instead),
        ("teacher/metrics.jsonl", _full),
    ],
)
def test_an_obstacle_is_named_and_the_same_call_trains_without_it(drawn, tmp_path, place, obstacle):
    path = tmp_path / "run" / place
    obstacle(path)
    with pytest.raises(UserError, match=rf"^{path} cannot be written \(.*\); .*\.$"):
        recipe.train(_config(drawn), str(tmp_path / "run"))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    recipe.train(_config(drawn), str(tmp_path / "run"))
    assert (tmp_path / "run" / "teacher" / "checkpoints" / "2").is_dir()


def test_a_full_disk_at_the_start(drawn, tmp_path):
    recipe.open_source(_config(drawn))
    with file_size(300), pytest.raises(UserError, match=rf"^{tmp_path}/run.json cannot be written \(File too large\)"):
        recipe.train(_config(drawn), str(tmp_path))


def test_a_program_on_a_full_disk_ends_with_one_sentence_and_resumes(drawn, tmp_path):
    """The disk is full at the first checkpoint, which is larger than the log."""
    workdir = tmp_path / "run"
    command = (f"--config={RECIPE}:teacher", f"--workdir={workdir}", f"--config.data_dir={drawn}",
               "--config.teacher.evaluate_every=0", "--config.teacher.steps=4")  # fmt: skip
    recipe.open_source(_config(drawn))  # if no test before has prepared the images
    with file_size(20_000):
        code, _, err = run("train.py", *command)
    assert code == 1
    assert "Traceback" not in err
    (sentence,) = (line for line in err.splitlines() if line.startswith("train.py: "))
    assert (
        f"train.py: {workdir}/teacher/checkpoints cannot be written (File too large); make room on its disk" in sentence
    )
    assert "resumes from the start, for nothing has been saved." in sentence
    assert run("train.py", *command)[0] == 0
    with locked(workdir, "trained", wait=False):
        code, _, err = run("train.py", *command)
    assert code == 1
    assert f"train.py: {workdir} is being trained by process " in err
    assert "wait until it has ended, or choose another --workdir." in err
    assert "Traceback" not in err


def test_outputs_of_scoring(finished, tmp_path):
    for name in ("scores.json", "report.html", "disentanglement.json"):
        assert not (finished / name).exists()
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "scores.json").mkdir()
    code, out, err = run("eval.py", f"--workdir={folder}")
    assert code == 1
    assert "rank-1" in out or "r1" in out
    assert f"eval.py: {folder}/scores.json cannot be written (Is a directory); make room on its disk, or copy" in err
    assert "Traceback" not in err
    (folder / "scores.json").rmdir()
    (folder / "report.html").mkdir()
    with (folder / "teacher" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 3, "L_')
    code, _, err = run("eval.py", f"--workdir={folder}", "--features_out=/dev/full")
    assert code == 1
    assert "eval.py: /dev/full cannot be written (No space left on device)" in err
    code, _, err = run("eval.py", f"--workdir={folder}")
    assert code == 1
    assert f"eval.py: {folder}/report.html cannot be written (Is a directory)" in err
    assert f"{folder}/teacher/metrics.jsonl: line 3 cannot be read and is skipped." in err
