"""Activation maps: finite differences through the heads, images of which a known part matters, and what must hold."""

from dataclasses import dataclass, replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

from rgbir_jax import stages
from rgbir_jax.data.augment import normalise
from rgbir_jax.errors import NotFiniteError
from rgbir_jax.inference import gradcam
from rgbir_jax.inference.features import features
from rgbir_jax.models.two_stream import Stream
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import Stage, image_spec
from rgbir_jax.training.state import Network, State, initialise
from tests.stages.test_embedding import tiny_config as tiny_embedding_config
from tests.tiny import tiny_config

CLASSES = 4
TRUNK = "tests.inference.test_gradcam:Trunk"
RNG = np.random.default_rng(0)
LATER_HEAD = 0.5  # weight of the second head's feature


class Trunk(nn.Module):
    """A backbone of one convolution."""

    stride: int
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train):
        return nn.relu(nn.Conv(6, (5, 5), self.stride, padding=2)(x))


def random_state(stage: Stage, networks: tuple[str, ...]) -> State:
    """Initialises some networks, and moves every parameter so that no bias is zero and no scale one."""
    params, batch_stats = initialise(jax.random.key(0), {name: stage.networks[name] for name in networks})
    moved = jax.tree.map(lambda x: x + 0.1 * RNG.normal(size=x.shape).astype(np.float32), params)
    return State(jnp.int32(0), moved, batch_stats, {})


def classifier(pool: str):
    config = tiny_config()
    config.teacher.networks.E_a = {"kind": TRUNK, "stride": 8, "slices": "part", "pool": pool}
    stage = stages.build(config, "teacher", CLASSES)
    return (stage,), (random_state(stage, ("E_a", "head")),)


def released():
    """Makes an image system whose two heads see the structure code."""
    config = tiny_config("released")
    config.image.networks.E_id = {"kind": TRUNK, "stride": 4, "hidden": 4}
    stage = stages.build(config, "image", CLASSES)
    return (stage,), (random_state(stage, ("E_s", "E_id", *stage.recogniser.heads)),)


def embedding():
    """Makes two streams, and encoders that read their embeddings."""
    config = tiny_embedding_config()
    config.image_size = (64, 32)
    first, last = (stages.build(config, name, CLASSES) for name in ("two_stream", "embedding"))
    stream = Stream(Trunk(8))
    networks = {name: Network(stream, (image_spec(config),), {"train": False}) for name in ("rgb", "ir")}
    networks["head"] = Network(first.head, (networks["rgb"].shapes()[1],), {"train": False})
    first = replace(first, stream=stream, networks=networks)
    return (first, last), (random_state(first, ("rgb", "ir", "head")), random_state(last, ("E_rgb", "E_ir")))


SYSTEMS = {
    "mean": lambda: classifier("avg"),
    "maximum": lambda: classifier("max"),
    "structure": released,
    "embedding": embedding,
}


@cache
def explained(name: str):
    """Returns (chain, states, images, modality, explain, maps) of three pairs, the last one of equal images."""
    chain, states = SYSTEMS[name]()
    size = chain[0].recipe.image_size
    images = tuple(np.random.default_rng(seed).integers(0, 256, (3, *size, 3), np.uint8) for seed in (1, 2))
    images[1][2] = images[0][2]
    modality = np.array([1, 0, 1], np.int32), np.array([0, 0, 1], np.int32)
    explain = gradcam.explainer(chain)
    return chain, states, images, modality, explain, explain(states, images, modality)


def lengths_of(vector, sizes):
    """Returns what each element of a feature is divided by to become part of a unit vector."""
    parts = np.split(vector, np.cumsum(sizes)[:-1])
    weights = [1] + [LATER_HEAD] * (len(parts) - 1)
    scales = [np.full(len(part), np.linalg.norm(part) / weight) for part, weight in zip(parts, weights, strict=True)]
    return np.concatenate(scales) * np.linalg.norm(weights)


def maps_by_finite_differences(chain, states, images, modality, others, sizes, step=4e-3):
    """Computes maps of images from how the similarity to the features `others` changes with each element of A."""

    @jax.jit
    def feature_maps(views, modality):
        return chain[0].feature_map(states[0], views, modality)

    @jax.jit
    def vectors(A, modality):
        """Computes features, not of unit length, of [m, 2, h, w, channels]: an image and its mirror image."""
        both = chain[0].features_of_map(states[0], A.reshape(-1, *A.shape[2:]), jnp.full(2 * len(A), modality))
        added = both.reshape(len(A), 2, -1).sum(axis=1)
        if len(chain) == 1:
            return added
        unit = added / jnp.linalg.norm(added, axis=1, keepdims=True)
        return chain[1].features(states[1], unit, jnp.full(len(A), modality))

    maps = []
    for image, kind, other in zip(images, modality, others, strict=True):
        A = np.asarray(feature_maps(normalise(np.stack([image, image[:, ::-1]])), jnp.full(2, kind)))
        steps = step * np.eye(A.size, dtype=np.float32).reshape(-1, *A.shape)
        changed = np.asarray(vectors(np.concatenate([A[None], A + steps, A - steps]), kind), np.float64)
        above, below = np.split(changed[1:] / lengths_of(changed[0], sizes) @ other, 2)
        gradient = ((above - below) / (2 * step)).reshape(A.shape)
        cells = np.sum(gradient.mean(axis=(1, 2), keepdims=True) * A, axis=-1)
        first, mirrored = (enlarged(view, image.shape[:2]) for view in cells)
        positive = np.maximum(first + mirrored[:, ::-1], 0)
        maps.append(positive / positive.max() if positive.max() > 0 else positive)
    return np.stack(maps)


def enlarged(cells, size):
    """Interpolates between cells, of which the first is at pixel 0 and the others at equal distances."""
    for axis, pixels in enumerate(size):
        places = np.arange(pixels) * cells.shape[axis] / pixels
        cells = np.apply_along_axis(lambda line, x=places: np.interp(x, np.arange(len(line)), line), axis, cells)
    return cells


@pytest.mark.parametrize("name", SYSTEMS)
def test_maps_are_those_of_finite_differences(name):
    chain, states, images, modality, _, maps = explained(name)
    compute = jax.jit(lambda images, modality: features(chain, states, images, modality))
    unit_vectors = [np.asarray(compute(*side), np.float64) for side in zip(images, modality, strict=True)]
    sizes = [CLASSES] * 2 if name == "structure" else [unit_vectors[0].shape[1]]
    assert np.mean([side.any(axis=(1, 2)) for side in maps]) >= 0.5  # most maps are not empty
    for side, actual in enumerate(maps):
        expected = maps_by_finite_differences(
            chain, states, images[side], modality[side], unit_vectors[1 - side], sizes
        )
        np.testing.assert_allclose(actual, expected, atol=0.02)


@pytest.mark.parametrize("name", SYSTEMS)
def test_maps_are_in_0_to_1_and_belong_to_the_images(name):
    chain, states, images, modality, explain, maps = explained(name)
    for side in maps:
        assert side.shape == (3, *chain[0].recipe.image_size)
        assert side.dtype == np.float32
        assert side.min() >= 0
        assert side.max() <= 1
        maximum = side.max(axis=(1, 2))
        np.testing.assert_allclose(maximum, maximum > 0, atol=1e-6)
    swapped = explain(states, images[::-1], modality[::-1])
    for actual, expected in zip(swapped, (maps.gallery, maps.query), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-4)
    mirrored = explain(states, (images[0][:, :, ::-1], images[1]), modality)
    np.testing.assert_allclose(mirrored.query, maps.query[:, :, ::-1], atol=1e-3)
    np.testing.assert_allclose(mirrored.gallery, maps.gallery, atol=1e-3)


@pytest.mark.parametrize("name", SYSTEMS)
def test_equal_images_have_equal_maps(name):
    *_, maps = explained(name)
    np.testing.assert_allclose(maps.query[2], maps.gallery[2], atol=1e-6)


def test_any_number_of_pairs_gives_the_same_maps(monkeypatch):
    _, states, images, modality, explain, maps = explained("mean")
    monkeypatch.setattr(gradcam, "PAIRS", 2)
    for actual, expected in zip(explain(states, images, modality), maps, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)


CELL = 8


@dataclass(frozen=True, eq=False)
class Colours(Stage):
    """A stage whose channels are how red and how blue an image is, averaged."""

    def feature_map(self, state, inputs, modality):
        x = jnp.maximum(inputs[:, ::CELL, ::CELL] * state.params["E"]["w"], 0)
        return jnp.stack([x[..., 0], x[..., 2]], axis=-1)

    def features_of_map(self, state, feature_map, modality):
        return jnp.mean(feature_map, axis=(1, 2)) - state.params["E"]["shift"]


def colours(w=1.0, shift=0.0):
    networks = {"E": Network(nn.Dense(1), ())}
    stage = Colours(ConfigDict(), ConfigDict(), 0, networks, Optimizers(ConfigDict(), ConfigDict(), ()), {})
    return (stage,), (State(jnp.int32(0), {"E": {"w": jnp.float32(w), "shift": jnp.float32(shift)}}, {}, {}),)


def painted(left, right, height=64, width=32):
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = left, right
    return image


RED, BLUE, BLACK = (255, 0, 0), (0, 0, 255), (0, 0, 0)
BOTH_RGB = np.zeros(1, np.int32), np.zeros(1, np.int32)


@pytest.mark.parametrize(("left", "right"), [(RED, BLUE), (BLUE, RED)])
def test_the_map_lies_in_the_half_that_matters(left, right):
    """The gallery image is red. Covering the query's red half changes the similarity most, and there the map lies."""
    chain, states = colours()
    query, gallery = painted(left, right), painted(RED, RED)
    maps = gradcam.explainer(chain)(states, (query[None], gallery[None]), BOTH_RGB)
    fall = []
    for half in (slice(None, 16), slice(16, None)):
        covered = query.copy()
        covered[:, half] = 0
        vectors = [features(chain, states, jnp.array([x]), jnp.zeros(1, int))[0] for x in (query, covered, gallery)]
        fall.append((vectors[0] - vectors[1]) @ vectors[2])
    share = np.array([maps.query[0, :, :16].sum(), maps.query[0, :, 16:].sum()]) / maps.query.sum()
    assert np.argmax(fall) == np.argmax(share) == (left == BLUE)
    assert share.max() > 0.85  # a position's neighbours get a part by interpolation
    np.testing.assert_allclose(maps.gallery, 1, atol=1e-6)  # every part of the red image is as red


@pytest.mark.parametrize(("query", "gallery"), [(painted(RED, RED), painted(BLUE, BLUE)), (painted(BLACK, BLACK),) * 2])
def test_pairs_without_evidence_have_empty_maps(query, gallery):
    """Images that share no channel, and images whose features are zero."""
    chain, states = colours()
    for side in gradcam.explainer(chain)(states, (query[None], gallery[None]), BOTH_RGB):
        np.testing.assert_array_equal(side, 0)


def test_what_speaks_against_a_pair_is_left_out():
    """Beside features of zero, a red image is opposite to a black one: red is no evidence that they are the same."""
    chain, states = colours(shift=0.5)
    images = painted(RED, BLACK)[None], painted(BLACK, BLACK)[None]
    query, _ = gradcam.explainer(chain)(states, images, BOTH_RGB)
    np.testing.assert_array_equal(query, 0)


def test_maps_that_are_not_finite_are_refused():
    chain, states = colours(w=np.nan)
    image = painted(RED, BLUE)[None]
    with pytest.raises(
        NotFiniteError, match="activation maps of 1 pairs, computed by the stage with the networks E, are"
    ):
        gradcam.explainer(chain)(states, (image, image), BOTH_RGB)
