"""Two processes train one run as one process would."""

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.end_to_end.conftest import RECIPE, run, start
from tests.end_to_end.test_interrupts import wait_for_checkpoint

IN_FLOAT64 = "tests/end_to_end/in_float64.py"


def _command(drawn, workdir, stages, steps):
    return (
        "train.py",
        f"--config={RECIPE}:{stages}",
        f"--workdir={workdir}",
        f"--config.data_dir={drawn}",
        "--config.dtype=float64",
        "--config.teacher.evaluate_every=2",
        f"--config.{stages.split(',')[-1]}.steps={steps}",
    )


def _start_two(*command, devices: int):
    """Starts two processes of one run, each with this number of devices."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    options = ("--distributed", f"--coordinator=localhost:{port}", "--process_count=2")
    return [
        start(IN_FLOAT64, *command, *options, f"--process_index={index}", JAX_NUM_CPU_DEVICES=devices)
        for index in range(2)
    ]


def _finish(processes) -> list[tuple[int, str]]:
    """Waits for the processes. Returns (exit code, standard error) of each."""
    try:
        with ThreadPoolExecutor(len(processes)) as pool:  # a process whose pipe is full and not read would block
            errors = list(pool.map(lambda process: process.communicate(timeout=900)[1], processes))
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, err) for process, err in zip(processes, errors, strict=True)]


@pytest.mark.parametrize("stages", ["teacher", pytest.param("teacher,image", marks=pytest.mark.slow)])
def test_two_processes_train_and_one_continues_to_the_same_scores(drawn, tmp_path, stages):
    """Compares two runs on four devices.

    In the first, two processes train half of the last stage's steps, and one process the rest. In the second, one
    process trains all of them.
    """
    for code, err in _finish(_start_two(*_command(drawn, tmp_path / "shared", stages, 2), devices=2)):
        assert code == 0, err
    last = stages.split(",")[-1]
    results = {}
    for name in ("shared", "single"):
        code, _, err = run(IN_FLOAT64, *_command(drawn, tmp_path / name, stages, 4), JAX_NUM_CPU_DEVICES=4)
        assert code == 0, err
        code, _, err = run(IN_FLOAT64, "eval.py", f"--workdir={tmp_path / name}", JAX_NUM_CPU_DEVICES=4)
        assert code == 0, err
        lines = (tmp_path / name / last / "metrics.jsonl").read_text().splitlines()
        metrics = [json.loads(line) for line in lines]
        scores = json.loads((tmp_path / name / "scores.json").read_text())
        results[name] = metrics, scores["trained"]
    (metrics, scores), (single_metrics, single_scores) = results["shared"], results["single"]
    # Only the first process has logged, each iteration once.
    assert [line["step"] for line in metrics if "val/mAP" in line] == [2, 4]
    for term in set(single_metrics[0]) - {"images_per_second", "waiting_for_input"}:
        # E_a starts as the teacher: L_dis is a difference of nearly equal logits.
        assert metrics[0][term] == pytest.approx(single_metrics[0][term], rel=1e-6, abs=1e-12), term
    for setting, expected in single_scores.items():
        assert scores[setting]["mAP"] == pytest.approx(expected["mAP"], abs=1e-6)
        np.testing.assert_allclose(scores[setting]["cmc"], expected["cmc"], atol=1e-6)


def test_a_stop_of_one_process_stops_both_and_one_can_continue(drawn, tmp_path):
    processes = _start_two(*_command(drawn, tmp_path / "run", "teacher", 100_000), devices=1)
    wait_for_checkpoint(processes[0], tmp_path / "run")
    processes[1].send_signal(signal.SIGTERM)
    sentences = set()
    for code, err in _finish(processes):
        assert code != 0
        assert "Traceback" not in err
        (sentence,) = (line for line in err.splitlines() if "train.py: stopped after iteration" in line)
        sentences.add(sentence.split("train.py: ")[1])
    (sentence,) = sentences
    stopped_at = int(sentence.split()[3])
    code, _, err = run(IN_FLOAT64, *_command(drawn, tmp_path / "run", "teacher", stopped_at + 2), JAX_NUM_CPU_DEVICES=4)
    assert code == 0, err
    lines = (tmp_path / "run" / "teacher" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == stopped_at + 2


def test_an_error_in_one_process_ends_it_with_one_sentence(drawn, tmp_path):
    """It ends at once: no process waits for the iterations of the other."""
    workdir = tmp_path / "run"
    (workdir / "teacher" / "checkpoints" / "2").mkdir(parents=True)
    (workdir / "config.json").write_text('{"recipe": ["teacher"]}')
    for index, (code, err) in enumerate(_finish(_start_two(*_command(drawn, workdir, "teacher", 4), devices=1))):
        assert code != 0
        assert f"process {index}: {workdir} was started by a version of this code without config." in err
        assert "Traceback" not in err
