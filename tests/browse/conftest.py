"""A server on a gallery of drawn people, whose identity and camera are known."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rgbir_jax
from rgbir_jax import synthetic
from rgbir_jax.browse.gallery import open_gallery
from rgbir_jax.browse.viewer import Viewer
from tests.own_people import NIGHT, person

pytest.importorskip("starlette")


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """Draws four people in SYSU-MM01's tree: 40 images of six cameras."""
    root = tmp_path_factory.mktemp("browse") / "people"
    synthetic.write(synthetic.sysu_plan(1, 1, 2, 2, 0), root, seed=5, size=(64, 32), arguments={}, workers=1)
    return root


@pytest.fixture(scope="session")
def model():
    return rgbir_jax.load("drawn")


@pytest.fixture(scope="session")
def viewer(model, tree) -> Viewer:
    return Viewer(model, open_gallery(str(tree), model))


@pytest.fixture(scope="session")
def photo() -> bytes:
    """Returns an RGB image of somebody who is not in the gallery."""
    return encoded(person(40))


@pytest.fixture(scope="session")
def night_photo() -> bytes:
    return encoded(person(40, NIGHT))
