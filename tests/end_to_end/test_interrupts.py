"""A stopped run continues when the same command is given again."""

import signal
import time

from rgbir_jax.training.checkpoints import Checkpoints
from tests.end_to_end.conftest import RECIPE, run, start


def _command(drawn, workdir, steps):
    return (
        f"--config={RECIPE}:teacher",
        f"--workdir={workdir}",
        f"--config.data_dir={drawn}",
        f"--config.teacher.steps={steps}",
        "--config.teacher.evaluate_every=0",
    )


def _latest(workdir) -> int | None:
    checkpoints = Checkpoints(workdir / "teacher" / "checkpoints")
    step = checkpoints.latest()
    checkpoints.close()
    return step


def wait_for_checkpoint(process, workdir) -> None:
    """Waits until the teacher has a checkpoint."""
    folder = workdir / "teacher" / "checkpoints"
    while not any(path.name.isdigit() for path in folder.glob("*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_kill_and_ctrl_c_lose_only_the_iterations_since_the_last_checkpoint(drawn, tmp_path):
    workdir = tmp_path / "run"
    process = start("train.py", *_command(drawn, workdir, 100_000))
    wait_for_checkpoint(process, workdir)
    process.kill()
    process.communicate()
    killed_at = _latest(workdir)
    assert killed_at % 3 == 0  # checkpoint_every

    process = start("train.py", *_command(drawn, workdir, 100_000))
    logged = _lines(workdir)
    while _lines(workdir) == logged:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "train.py: stopped after iteration" in err
    assert "Traceback" not in err
    stopped_at = _latest(workdir)
    assert stopped_at > killed_at

    code, _, err = run("train.py", *_command(drawn, workdir, stopped_at + 4))
    assert code == 0, err
    assert _latest(workdir) == stopped_at + 4
    # A finished run does not change, and another recipe cannot use its folder.
    before = (workdir / "teacher" / "metrics.jsonl").read_bytes()
    assert run("train.py", *_command(drawn, workdir, stopped_at + 4))[0] == 0
    assert (workdir / "teacher" / "metrics.jsonl").read_bytes() == before
    code, _, err = run("train.py", *_command(drawn, workdir, 9), "--config.seed=1")
    assert code != 0
    assert f"{workdir} was started with config.seed = 0, now it is 1" in err


def _lines(workdir) -> int:
    return len((workdir / "teacher" / "metrics.jsonl").read_text().splitlines())
