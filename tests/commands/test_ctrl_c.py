"""Ctrl-C ends every program with one line and the exit status 130, wherever it comes."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
# What a program imports first of all that takes long, instead of which Ctrl-C comes.
FIRST = {"rgbir-train": "absl", "rgbir-eval": "absl", "rgbir-export": "safetensors"}
# A shell starts programs in the background with SIGINT ignored.
INTERRUPTED = """
import os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
os.kill(os.getpid(), signal.SIGINT)
time.sleep(9)
"""


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("is_script", [True, False], ids=["script", "module"])
def test_ctrl_c_while_modules_are_imported(script, is_script, tmp_path):
    module, _, function = SCRIPTS[script].partition(":")
    (tmp_path / "paths" / FIRST.get(script, "numpy")).mkdir(parents=True)
    (tmp_path / "paths" / FIRST.get(script, "numpy") / "__init__.py").write_text(INTERRUPTED)
    (tmp_path / script).write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    command = [str(tmp_path / script)] if is_script else ["-m", module]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "paths"), str(ROOT)])}
    process = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (130, "")
    assert process.stderr == f"{script if is_script else module.rpartition('.')[2] + '.py'}: stopped.\n"


STOPPED = """
import sys
from rgbir_jax.commands import {program}{others}
def stop(*arguments):
    raise KeyboardInterrupt
{function} = stop
sys.argv = {argv}
{program}.main()
"""


@pytest.mark.parametrize(
    ("program", "others", "function", "argv", "sentence"),
    [
        ("evaluate", "", "evaluate._check_flags", ["eval.py", "--workdir=x"], "eval.py: stopped."),
        (
            "train",
            ", recipe",
            "recipe.train",
            ["train.py", "--config=quickstart", "--workdir=x"],
            "train.py: stopped; the same command resumes from the last checkpoint.",
        ),
        (
            "export",
            "",
            "export.load",
            ["rgbir-export", "drawn", "--out=absent"],
            "rgbir-export: stopped; nothing was written.",
        ),
    ],
    ids=["eval", "train", "export"],
)
def test_only_what_can_be_resumed_says_so(program, others, function, argv, sentence):
    code = STOPPED.format(program=program, others=others, function=function, argv=argv)
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (130, f"{sentence}\n")
