"""The wheel works outside the checkout, in an environment with nothing else installed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import ROOT
from tests.own_people import OTHER_DAY, readme_program, write_people

pytestmark = pytest.mark.slow


def call(*command, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run(list(map(str, command)), cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout


SEARCH = """
import time
from pathlib import Path
import numpy as np
import rgbir_jax
from rgbir_jax.search import store
from rgbir_jax.search.index import open_index
from rgbir_jax.search.table import Table

drawn = np.asarray(rgbir_jax.load("drawn").features("tree/cam1"))
a, b = np.random.default_rng(0).integers(0, len(drawn), (2, 100_000))
vectors = drawn[a] + np.linspace(0, 0.5, 100_000, dtype=np.float32)[:, None] * drawn[b]
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
numbers = np.arange(100_000)
table = Table([f"{n:06d}.png" for n in numbers], np.zeros(100_000, np.int8), numbers, numbers, numbers)
Path("large.index").mkdir()
store.write(Path("large.index"), store.Info.new("12345678", "drawn", [64, 32], "tree", "auto"), table, vectors)
index, seconds = open_index(Path("large.index")).load(), []
for vector in drawn[:20]:
    start = time.perf_counter()
    index.search(vector[None], 10)
    seconds.append(time.perf_counter() - start)
print(1000 * np.median(seconds))
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Builds the wheel and installs it, and nothing else, in a new environment. Returns the folder of its programs."""
    tmp_path = tmp_path_factory.mktemp("wheel")
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
    return python.parent


def test_it_draws_trains_scores_and_opens_a_run(programs, tmp_path):
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
    output = call(programs / "python", "-c", code, cwd=tmp_path)
    assert str(programs.parent) in output
    assert "(3, 128)" in output


def test_own_images_are_searched(programs, tmp_path):
    """The program of the README, the commands, and a search among the vectors of 100,000 images."""
    write_people(tmp_path / "people", range(8))
    write_people(tmp_path, [3], OTHER_DAY)[0].rename(tmp_path / "query.png")
    lines = call(programs / "python", "-c", readme_program(), cwd=tmp_path).splitlines()
    assert lines[1].split()[0] == "1"
    assert lines[1].endswith("people/03.png")
    call(programs / "rgbir-features", "people", "-o", "f.npz", cwd=tmp_path)
    call(programs / "rgbir-index", "people", cwd=tmp_path)
    write_people(tmp_path / "people", [9])
    assert "9 images, 1 of them new and 0 changed" in call(programs / "rgbir-index", "people", cwd=tmp_path)
    outs = ("--out=f.html", "--out=f.png", "--out=f.json")
    found = call(programs / "rgbir-search", "query.png", "--gallery=people", *outs, cwd=tmp_path)
    assert found.splitlines()[1].endswith("03.png")
    assert all((tmp_path / f"f.{ending}").stat().st_size for ending in ("html", "png", "json"))

    call(programs / "rgbir-draw", "--out=tree", "--train=40", "--val=0", "--test=8", "--images=2", "--size", "64", "32",
         cwd=tmp_path)  # fmt: skip
    assert float(call(programs / "python", "-c", SEARCH, cwd=tmp_path)) < 50  # ms


def test_the_page_comes_along(programs, tmp_path):
    """Its server needs packages that are not installed here."""
    code = (
        "from importlib.resources import files; "
        "print(*sorted(file.name for file in files('rgbir_jax').joinpath('browse/static').iterdir()))"
    )
    names = call(programs / "python", "-c", code, cwd=tmp_path).split()
    assert names == sorted(file.name for file in (ROOT / "rgbir_jax/browse/static").iterdir())
    command = [str(programs / "rgbir-browse"), "drawn", "--gallery", "."]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert "the page needs starlette; install it: pip install 'rgbir-jax[browse]'." in process.stderr
