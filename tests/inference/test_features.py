"""Features of a stage: unit vectors, and an error if one of them is not finite."""

from dataclasses import dataclass
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

from rgbir_jax.data import augment
from rgbir_jax.datasets.records import Records
from rgbir_jax.inference.embeddings import embed
from rgbir_jax.inference.features import extractor, of_rows
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import Network, State
from tests.disks import file_size

STATE = State(jnp.int32(0), {"E": {"w": jnp.ones(())}}, {}, {})
IMAGES, WHITE = 7, (2, 5)


def _unused(*arguments):
    raise AssertionError("only features are computed")


def _source(white=WHITE):
    """Returns a source of seven grey images, some of them white."""
    images = np.full((IMAGES, 4, 4, 3), 100, np.uint8)
    images[list(white)] = 255
    numbers = np.arange(1, IMAGES + 1, dtype=np.int32)
    records = Records(
        path=np.array([f"{i}.jpg" for i in numbers]),
        person_id=numbers,
        camera=numbers,
        index=numbers,
        modality=np.zeros(IMAGES, np.int32),
        split=np.array(["test"] * IMAGES),
    )
    return SimpleNamespace(
        records=records, image_size=(4, 4), field="image", read=lambda rows: images[rows], stream=_unused
    )


@dataclass(frozen=True, eq=False)
class MeanColour(Stage):
    """A stage whose features are the mean colour, or `value` for a white image."""

    value: float

    def features(self, state, inputs, modality):
        colour = inputs.mean((1, 2)) * state.params["E"]["w"]
        return jnp.where(colour > 2, self.value, colour)


def _stage(value: float) -> Stage:
    networks = {name: Network(nn.Dense(1), ()) for name in ("E", "head")}
    return MeanColour(ConfigDict(), ConfigDict(), 0, networks, Optimizers(ConfigDict(), ConfigDict(), ()), {}, value)


def extract(stage, state, source, rows, progress=""):
    """Computes the features of some rows, two at a time."""
    return extractor((stage,), batch_size=2)((state,), *of_rows(source, rows), progress=progress)


def test_unit_vectors_in_the_order_of_the_rows():
    rows = np.array([6, 2, 0, 1])
    features = extract(_stage(1e4), STATE, _source(), rows)
    grey, white = (
        np.asarray(augment.normalise(np.full((1, 1, 1, 3), shade, np.uint8))).ravel() for shade in (100, 255)
    )
    for row, feature in zip(rows, features, strict=True):
        colour = np.where(white > 2, 1e4, white) if row in WHITE else grey
        np.testing.assert_allclose(feature, colour / np.linalg.norm(colour), rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_features_that_are_not_finite_are_not_scored(value):
    """A feature whose norm overflows is not scored either: divided by the norm it would be zero."""
    stage, rows = _stage(value), np.arange(IMAGES)
    with pytest.raises(FloatingPointError, match=r"features of 2 of 7 images, computed by teacher, are not finite"):
        extract(stage, STATE, _source(), rows, progress="teacher")
    with pytest.raises(FloatingPointError, match=r"computed by the stage with the networks E, head, are not finite"):
        extract(stage, STATE, _source(), rows)
    assert np.isfinite(extract(stage, STATE, _source(white=()), rows)).all()


def test_a_state_of_nan_is_not_scored():
    broken = STATE.replace(params={"E": {"w": jnp.float32(jnp.nan)}})
    with pytest.raises(FloatingPointError, match="features of 7 of 7 images"):
        extract(_stage(1), broken, _source(), np.arange(IMAGES))


def test_embeddings_that_are_not_finite_are_not_kept(tmp_path):
    path = tmp_path / "embeddings.npz"
    with pytest.raises(
        FloatingPointError, match=rf"features of 2 of 7 images, computed by embeddings of {tmp_path.name}"
    ):
        embed(_stage(np.nan), STATE, _source(), "data", path)
    assert not path.exists()


@pytest.mark.parametrize("damage", ["nan", "flipped", "truncated"])
def test_damaged_embeddings_are_computed_again(tmp_path, damage):
    path = tmp_path / "embeddings.npz"
    whole = embed(_stage(1), STATE, _source(), "data", path).read(np.arange(IMAGES))
    content = path.read_bytes()
    if damage == "nan":
        with np.load(path) as file:
            arrays = dict(file)
        arrays["vectors"][3] = np.nan
        np.savez(path, **arrays)
    elif damage == "flipped":
        place = content.index(whole[3].tobytes())
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
    else:
        path.write_bytes(content[:100])
    again = embed(_stage(1), STATE, _source(), "data", path).read(np.arange(IMAGES))
    np.testing.assert_array_equal(again, whole)
    assert path.read_bytes() == content


def test_embeddings_that_cannot_be_written_are_used_and_computed_again(tmp_path, capsys):
    path = tmp_path / "embeddings.npz"
    whole = embed(_stage(1), STATE, _source(), "data", tmp_path / "other.npz").read(np.arange(IMAGES))
    with file_size(10):
        kept = embed(_stage(1), STATE, _source(), "data", path).read(np.arange(IMAGES))
    np.testing.assert_array_equal(kept, whole)
    assert f"{path} cannot be written (File too large): these features are computed" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["other.npz"]
