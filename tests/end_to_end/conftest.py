"""Functions that start the project's programs as a user does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPE = "tests/end_to_end/recipe.py"


def start(program: str, *arguments, **environment) -> subprocess.Popen:
    """Starts train.py or eval.py with further environment variables."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"} | {name: str(value) for name, value in environment.items()}
    return subprocess.Popen(
        [sys.executable, program, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(program: str, *arguments, **environment) -> tuple[int, str, str]:
    """Runs a program to its end. Returns (exit code, standard output, standard error)."""
    process = start(program, *arguments, **environment)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err
