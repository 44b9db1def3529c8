"""The reconstruction error of generators whose error is known."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from rgbir_jax.datasets.records import Records
from rgbir_jax.evaluation.reconstruction import reconstruction
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 6, 4, 3), np.uint8)
NORMALISED = (IMAGES / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
ROWS = np.array([0, 2, 3, 4, 6])


class Source:
    image_size = (6, 4)
    records: Records | None = None

    field = "image"

    def read(self, rows):
        return IMAGES[rows]

    def stream(self, rows, start):
        raise AssertionError("not used in this test")


def measure(render):
    class Renderer(Stage):
        def render(self, state, structure, appearance):
            return render(state, structure, appearance)

    stage = Renderer(ConfigDict(), ConfigDict(), 0, {}, Optimizers(ConfigDict(), ConfigDict(), ()), {})
    return reconstruction(stage, State(jnp.int32(0), {}, {}, {}), Source(), ROWS, batch_size=2)


def test_a_perfect_generator_has_no_error_but_the_mean_image_has_one():
    error = measure(lambda state, structure, appearance: structure)
    assert error.l1 == 0
    x = NORMALISED[ROWS]
    assert error.mean_image == pytest.approx(np.abs(x - x.mean(0)).mean(), rel=1e-5)


def test_batches_of_unequal_size_count_by_their_images():
    error = measure(lambda state, structure, appearance: jnp.zeros_like(appearance))
    assert error.l1 == pytest.approx(np.abs(NORMALISED[ROWS]).mean(), rel=1e-5)
