"""Folders of drawn people, as a user has folders of photographs."""

import re
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rgbir_jax.synthetic import SYSU_CAMERAS, Identity, Pose, draw

DAY, OTHER_DAY, NIGHT = SYSU_CAMERAS[0], SYSU_CAMERAS[3], SYSU_CAMERAS[2]  # RGB, RGB, infrared


def person(number: int, camera=DAY, size: tuple[int, int] = (64, 32)) -> UInt8[np.ndarray, "height width 3"]:
    """Draws a person of a number before a camera."""
    identity = Identity.random(np.random.default_rng([3, number]))
    return draw(identity, Pose.random(np.random.default_rng([4, number, camera.number])), camera, number, size)


def write_people(folder: Path, numbers, camera=DAY, size: tuple[int, int] = (64, 32)) -> list[Path]:
    """Writes a picture of each person into a folder, as NUMBER.png. Returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:02d}.png" for number in numbers]
    for number, path in zip(numbers, paths, strict=True):
        Image.fromarray(person(number, camera, size)).save(path)
    return paths


def readme_program() -> str:
    """Returns the program of the README for a folder `people` and an image `query.png`."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (program,) = (code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "rgbir_jax.rank" in code)
    return program
