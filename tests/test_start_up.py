"""Modules that a start does not import: TensorFlow takes seconds, and without it one can train from memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rgbir_jax import synthetic

ROOT = Path(__file__).parents[1]
RECIPE = "tests/end_to_end/recipe.py:teacher"
TENSORFLOW = {"tensorflow", "tensorflow_datasets"}
EVERYTHING = """
import importlib, pkgutil
for name in ("datasets", "models", "losses", "training", "stages", "inference", "evaluation", "synthetic", "search"):
    package = importlib.import_module(f"rgbir_jax.{name}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
"""
PROGRAM = """
import runpy, sys
sys.argv = ["train.py", *{arguments}]
try:
    runpy.run_path("train.py", run_name="__main__")
except SystemExit as end:
    if end.code not in (None, 0, 1):  # absl's help ends with 1
        raise
"""
PRINT_MODULES = "\nimport json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


def run(code: str) -> tuple[str, set[str]]:
    """Runs code in a new interpreter. Returns (printed text, the top-level modules that are loaded at the end)."""
    process = subprocess.run(
        [sys.executable, "-c", code + PRINT_MODULES], cwd=ROOT, text=True, capture_output=True, timeout=600
    )
    assert process.returncode == 0, process.stderr
    printed, _, loaded = process.stdout.strip().rpartition("\n")
    return printed, set(json.loads(loaded))


def run_train(*arguments) -> tuple[str, set[str]]:
    return run(PROGRAM.format(arguments=[str(argument) for argument in arguments]))


def test_an_import_of_tensorflow_is_noticed():
    pytest.importorskip("tensorflow_datasets")
    assert run("import rgbir_jax.data.tf_data")[1] >= TENSORFLOW


def test_importing_the_package_imports_no_library():
    _, loaded = run("import rgbir_jax")
    assert not loaded & ({"jax", "flax", "optax", "orbax"} | TENSORFLOW)


def test_computing_modules_import_no_tensorflow():
    _, loaded = run(EVERYTHING)
    assert loaded >= {"jax", "flax", "optax", "orbax"}
    assert not loaded & TENSORFLOW


def test_help_imports_neither_jax_nor_tensorflow():
    printed, loaded = run_train("--help")
    for flag in ("config", "workdir", "describe", "flops", "distributed", "traceback"):
        assert f"--{'[no]' * (flag not in ('config', 'workdir'))}{flag}:" in printed
    assert not loaded & ({"jax", "flax", "optax", "orbax"} | TENSORFLOW)


def test_a_description_imports_no_tensorflow():
    printed, loaded = run_train(f"--config={RECIPE}", "--describe", "--config.source=tf_data")
    assert "IdentityHead" not in printed
    assert "  trunk " in printed
    assert not loaded & TENSORFLOW


def test_training_from_memory_imports_no_tensorflow(tmp_path):
    tree = tmp_path / "tree"
    synthetic.write(synthetic.sysu_plan(4, 2, 2, 2, 0), tree, seed=0, size=(64, 32), arguments={}, workers=1)
    _, loaded = run_train(f"--config={RECIPE}", f"--workdir={tmp_path / 'run'}", f"--config.data_dir={tree}")
    assert (tmp_path / "run" / "teacher" / "metrics.jsonl").read_text()
    assert not loaded & TENSORFLOW
