"""Each example trains, is scored, writes a report and opens from its folder, without changes to the package."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.conftest import ROOT, run

FILES = sorted((ROOT / "examples").glob("*.py"))
# the config overrides that make each example short
SHORT = {
    "triplet": ("recipe=('teacher','drawing','image')", "teacher.steps=2", "drawing.steps=2", "image.steps=2"),
    "mobilenet": ("recipe=('teacher',)", "teacher.steps=2"),
    "own_dataset": ("recipe=('teacher',)", "teacher.steps=2", "batch.identities=2"),
    "own_stage": ("centres.steps=2",),
}


@pytest.fixture(scope="module")
def photos(drawn, tmp_path_factory) -> Path:
    """Copies the drawn people into the tree of examples/own_dataset.py."""
    root = tmp_path_factory.mktemp("photos") / "tree"
    for camera, folder in ((1, "rgb"), (2, "rgb"), (4, "rgb"), (5, "rgb"), (3, "ir"), (6, "ir")):
        for image in drawn.glob(f"cam{camera}/*/*.jpg"):
            target = root / folder / image.parent.name / f"c{camera}_{image.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, target)
    return root


def test_every_example_is_short_and_tested():
    assert {file.stem for file in FILES} == {*SHORT, "swap", "own_images"}
    for file in FILES:
        assert len(file.read_text().splitlines()) <= 60


def test_people_are_swapped(tmp_path):
    """The picture has the four people in the first row and column; their swaps are neither of these nor plain."""
    program = [sys.executable, str(ROOT / "examples" / "swap.py")]
    process = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    picture = np.asarray(Image.open(tmp_path / "swapped.png"), np.float32)
    cells = picture.reshape(5, 256, 5, 128, 3).swapaxes(1, 2)
    for i in range(1, 5):
        np.testing.assert_array_equal(cells[0, i], cells[i, 0])
        original, rebuilt, other = cells[0, i], cells[i, i], cells[i, i % 4 + 1]
        assert np.abs(rebuilt - original).mean() < 20  # of 255
        assert np.abs(rebuilt - original).mean() < np.abs(other - original).mean()


def test_a_person_is_found_in_own_images(tmp_path):
    program = [sys.executable, str(ROOT / "examples" / "own_images.py")]
    process = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[0] == "query.png (IR)"
    assert len(lines) == 6
    assert lines[1].split()[0] == "1"
    assert lines[1].endswith("people/02.png")
    assert np.asarray(Image.open(tmp_path / "swapped.png")).shape == (64, 32, 3)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "triplet")) for name in SHORT])
def test_an_example_trains_and_is_scored(name, drawn, photos, tmp_path):
    folder, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(photos if name == "own_dataset" else drawn, data)
    arguments = [f"--config=examples/{name}.py", f"--workdir={folder}", f"--config.data_dir={data}"]
    options = [f"--config.{option}" for option in (*SHORT[name], "source=memory")]
    code, _, err = run("train.py", *arguments, *options)
    assert code == 0, err
    code, _, err = run("eval.py", f"--workdir={folder}")
    assert code == 0, err
    assert (folder / "report.html").stat().st_size > 10_000
    scores = json.loads((folder / "scores.json").read_text())
    assert 0 <= next(iter(scores["trained"].values()))["mAP"] <= 1
    if name == "triplet":
        lines = (folder / "image" / "metrics.jsonl").read_text().splitlines()
        assert all("L_triplet_a" in json.loads(line) for line in lines if "L_simple" in line)
    if name == "own_dataset":
        assert scores["dataset"] == "Photos (drawn)"

    shutil.rmtree(data)
    code = f"import numpy as np, rgbir_jax; run = rgbir_jax.load({str(folder)!r}); " + (
        "x = np.zeros((2, *run.facts.image_size, 3), np.uint8); "
        "print(np.linalg.norm(run.features(x, np.array([0, 1])), axis=1).tolist())"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    np.testing.assert_allclose(json.loads(process.stdout), 1, rtol=1e-5)
