"""Flags of eval.py: those that the mode does not use are refused, and so is a file that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def refusal(*flags) -> str:
    """Runs eval.py, which must fail with one sentence. Returns the sentence."""
    process = subprocess.run([sys.executable, "eval.py", *flags], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode != 0
    assert process.stdout == ""
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith("eval.py: ")
    return line.removeprefix("eval.py: ")


@pytest.mark.parametrize(
    ("mode", "name", "others"),
    [
        ("workdir", "json", "--features or --table or --compare"),
        ("workdir", "test_ids", "--features"),
        ("workdir", "runs", "--table"),
        ("features", "judge", "--workdir"),
        ("features", "data_dir", "--workdir"),
        ("features", "prepared_dir", "--workdir"),
        ("features", "features_out", "--workdir"),
        ("features", "runs", "--table"),
        ("table", "rand_perm", "--workdir or --features"),
        ("table", "test_ids", "--features"),
        ("table", "data_dir", "--workdir"),
        ("table", "features_out", "--workdir"),
        ("table", "protocol", "--workdir or --features"),
        ("compare", "protocol", "--workdir or --features"),
        ("compare", "runs", "--table"),
    ],
)
def test_a_flag_of_another_mode_is_refused(mode, name, others):
    sentence = f"--{name} belongs to {others} and is not used with --{mode}; leave it out."
    assert refusal(f"--{mode}={6 if mode == 'table' else 'x'}", f"--{name}=x") == sentence


@pytest.mark.parametrize(
    ("mode", "name"), [("--workdir=x", "features_out"), ("--features=x", "json"), ("--table=6", "json")]
)
def test_a_file_that_cannot_be_written_is_refused_first(tmp_path, mode, name):
    file = tmp_path / "absent" / "out"
    assert refusal(mode, f"--{name}={file}") == (
        f"--{name} {file} cannot be written: there is no folder {file.parent}; make it first."
    )
    assert refusal(mode, f"--{name}={tmp_path}") == f"--{name} {tmp_path} is a folder; name a file in it."


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    assert "cannot be written: permission denied" in refusal("--table=6", f"--json={tmp_path / 'out'}")


@pytest.mark.parametrize("flag", ["--judge=runs/judge", "--swap_images=96"])
def test_what_belongs_to_disentanglement_is_refused_without_it(flag):
    name = flag.partition("=")[0]
    assert refusal("--workdir=x", flag) == f"{name} belongs to --disentanglement; add it, or leave {name} out."


def test_one_image_is_not_swapped():
    assert "swap_images" in refusal("--workdir=x", "--disentanglement", "--swap_images=1")


@pytest.mark.parametrize("mode", ["table", "compare"])
def test_only_features_are_reranked(mode):
    sentence = f"--rerank belongs to --workdir or --features and is not used with --{mode}; leave it out."
    assert refusal(f"--{mode}=6", "--rerank") == sentence


def test_one_run_is_not_compared():
    assert refusal("--compare", "runs/a") == "--compare takes two runs or more; runs/a is one."


def test_runs_to_compare_follow_their_flag(tmp_path):
    """The flag is written once, and before another one."""
    sentence = f"{tmp_path}/a has no scores.json; eval.py --workdir {tmp_path}/a writes it."
    assert refusal("--compare", f"{tmp_path}/a", f"{tmp_path}/b") == sentence
    assert refusal("--compare", f"{tmp_path}/a", f"{tmp_path}/b", f"--json={tmp_path / 'c.json'}") == sentence
    assert refusal(f"--compare={tmp_path}/a", f"{tmp_path}/b") == sentence
    assert "runs/b is not understood; flags are written --name=value" in refusal("--workdir=runs/a", "runs/b")


def test_missing_data_and_files_are_named_with_the_flags_of_eval(tmp_path):
    """Messages of both programs name the flag of either."""
    person_id, camera = np.stack(np.meshgrid([1, 2], np.arange(1, 7))).reshape(2, -1)
    np.savez(tmp_path / "f.npz", feature=np.ones((12, 2)), pid=person_id, cam=camera, index=np.ones(12, int))
    assert "(--config.rand_perm names it; eval.py: --rand_perm)" in refusal(f"--features={tmp_path / 'f.npz'}")


@pytest.mark.parametrize("mode", ["--table=6", "--features=FILE"])
def test_what_was_computed_is_printed_before_it_is_written(tmp_path, mode):
    """A file that turns out to be full takes nothing but itself."""
    person_id, camera = np.stack(np.meshgrid([1, 2], np.arange(1, 7))).reshape(2, -1)
    np.savez(tmp_path / "f.npz", feature=np.eye(12), pid=person_id, cam=camera, index=np.ones(12, int))
    flags = [mode.replace("FILE", str(tmp_path / "f.npz")), "--json=/dev/full", *["--protocol=agw"] * ("FILE" in mode)]
    process = subprocess.run([sys.executable, "eval.py", *flags], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode != 0
    assert "mAP" in process.stdout
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith("eval.py: /dev/full cannot be written (No space left on device); ")


def test_a_terminal_without_all_letters_gets_the_table(tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "eval.py", "--table=6"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (process.returncode, process.stderr) == (0, "")
    assert "| the paper" in process.stdout
