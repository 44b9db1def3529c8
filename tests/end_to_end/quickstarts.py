"""Runs the Makefile's quickstarts with few people, few iterations and a narrow network."""

import ast
import contextlib
import importlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from rgbir_jax.commands import check, draw, recipe, report, scoring
from rgbir_jax.evaluation.tables import table_with_runs
from rgbir_jax.run import load
from tests.end_to_end.conftest import ROOT

SMALLEST = {
    "PEOPLE": "--train 4 --val 2 --test 3 --images 2 --size 32 16",
    "TRAIN_FLAGS": "--config.teacher.steps=2 --config.teacher.decay.at='()' --config.teacher.networks.E_a.width=4 "
    "--config.source=memory",
}
MODULES = {"rgbir_jax.commands.draw": draw, "rgbir_jax.commands.check": check}


def make(target: str, checkout: Path, programs: str) -> str:
    """Makes a target, but not its environment.

    Args:
        target: the target.
        checkout: an empty folder, in which data and runs are made.
        programs: the folder that has `python`.

    Returns:
        What is printed on standard output.
    """
    for name in ("Makefile", "train.py", "eval.py", "rgbir_jax"):
        (checkout / name).symlink_to(ROOT / name)
    variables = [f"{name}={value}" for name, value in (SMALLEST | {"BIN": programs}).items()]
    process = subprocess.run(
        ["make", "--silent", "--old-file=.venv/run.stamp", target, *variables],
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        text=True,
        capture_output=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def run_commands(target: str, checkout: Path) -> str:
    """Runs the commands of a target in this process. Returns the tables that `eval.py --table` prints."""
    commands = make(target, checkout, "echo shown").splitlines()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(checkout)
        return "".join(_run(command.split()[1:]) for command in commands)


def _run(words: list[str]) -> str:
    program, *arguments = words
    given = {} if program == "-m" else _flags(arguments)
    if program == "-m":
        _run_module(*arguments)
    elif program == "train.py":
        _train(**given)
    elif "workdir" in given:
        report.write(scoring.score(load(given["workdir"])))
    else:
        return table_with_runs(given.pop("table"), **given)[0]
    return ""


def _run_module(name: str, *arguments: str) -> None:
    with contextlib.suppress(SystemExit):  # rgbir-check always ends with it
        MODULES[name].main(list(arguments))


def _flags(arguments: Iterable[str]) -> dict[str, str]:
    """Returns the values of flags that are written "--name value" or "--name=value"."""
    words = iter([word for argument in arguments for word in argument.split("=", 1)])
    return {name.removeprefix("--"): value for name, value in zip(words, words, strict=True)}


def _train(config: str, workdir: str, **changes: str) -> None:
    shipped = importlib.import_module(f"configs.{config.replace('/', '.')}").get_config()
    for key, text in changes.items():
        value = text if text == "memory" else ast.literal_eval(text)
        shipped.update_from_flattened_dict({key.removeprefix("config."): value})
    recipe.train(shipped, workdir)
