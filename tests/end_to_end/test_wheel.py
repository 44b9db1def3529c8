"""The wheel works outside the checkout, in an environment with nothing else installed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import ROOT

pytestmark = pytest.mark.slow


def call(*command, cwd: Path) -> str:
    process = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_it_draws_trains_scores_and_opens_a_run(tmp_path):
    source = tmp_path / "source"  # a build leaves files behind
    for name in ("rgbir_jax", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    call(sys.executable, "-m", "venv", "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    call(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    programs = python.parent

    call(programs / "rgbir-draw", "--out=tree", "--train=6", "--val=2", "--test=4", "--images=2", "--size", "64", "32",
         cwd=tmp_path)  # fmt: skip
    description = call(programs / "rgbir-train", "--config=sysu_image:dgnet", "--describe", "--json", cwd=tmp_path)
    assert json.loads(description)["recipe"] == ["teacher", "image"]
    short = ["recipe=('teacher',)", "teacher.steps=2", "data_dir=tree", "source=memory"]
    call(programs / "rgbir-train", "--config=quickstart", "--workdir=run", *(f"--config.{option}" for option in short),
         cwd=tmp_path)  # fmt: skip
    scores_text = call(programs / "rgbir-eval", "--workdir=run", "--features_out=features.npz", cwd=tmp_path)
    assert "No report is written: it needs" in scores_text
    assert "pip install 'rgbir-jax[report]'" in scores_text

    (tmp_path / "tree").rename(tmp_path / "elsewhere")
    code = (
        "import numpy as np, rgbir_jax; run = rgbir_jax.load('run'); "
        "print(rgbir_jax.__file__, run.features(np.zeros((3, 64, 32, 3), np.uint8), np.array([0, 1, 0])).shape)"
    )
    output = call(python, "-c", code, cwd=tmp_path)
    assert str(tmp_path / "env") in output
    assert "(3, 128)" in output
