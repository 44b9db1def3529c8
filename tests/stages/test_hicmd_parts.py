"""Which parts of which images Hi-CMD puts together, in training and afterwards."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.data.augment import denormalise, normalise
from rgbir_jax.models.attributes import Attributes
from rgbir_jax.models.generator import Generator
from rgbir_jax.models.structure_encoder import ResidualEncoder
from rgbir_jax.models.two_stream import Stream
from rgbir_jax.stages.hicmd import enlarged
from rgbir_jax.stages.hicmd_generation import PersonImageGeneration
from rgbir_jax.stages.hicmd_recognition import sources
from rgbir_jax.stages.modalities import guessed_modality
from tests.stages.thin_hicmd import CLASSES, system

KEY = jax.random.key(0)


class Marked(ResidualEncoder):
    """A prototype is the image's mean and a mark of the modality."""

    @nn.compact
    def __call__(self, x):
        return jnp.mean(x, axis=(1, 2, 3)).reshape(-1, 1, 1, 1) + self.param("mark", nn.initializers.zeros, ())


class MarkedTrunk(nn.Module):
    """The identity's attributes are 10 times the mean and a mark, the pose 100 times, the illumination 1000 times."""

    @nn.compact
    def __call__(self, x, train):
        self.variable("batch_stats", "seen", lambda: jnp.zeros(()))
        value = jnp.mean(x, axis=(1, 2, 3)) + self.param("mark", nn.initializers.zeros, ())
        code = jnp.tile(jnp.array([10.0, 10.0, 100.0, 1000.0]), 4)
        return value.reshape(-1, 1, 1, 1) * code


class Sum(Generator):
    """An image is constant: the prototype and one of each kind of attributes."""

    def __call__(self, a, s):
        value = s[:, 0, 0, 0] + a[:, 0, 0] + a[:, 0, 2] + a[:, 0, 3]
        return jnp.broadcast_to(value[:, None, None, None], (len(s), 4, 4, 3))


class Codes(NamedTuple):
    p: float
    t: float
    pose: float
    illumination: float


def encoded(value: float, modality: int) -> Codes:
    """Returns the codes of a constant image."""
    p, v = value + (1, 2)[modality], value + (3, 4)[modality]
    return Codes(p, 10 * v, 100 * v, 1000 * v)


def test_pairs_exchange_what_the_paper_says():
    generation = PersonImageGeneration(Marked(), Stream(MarkedTrunk()), Sum())
    params = {"E_p_rgb": {"mark": 1.0}, "E_p_ir": {"mark": 2.0}, "G": {}}
    params |= {"E_t_rgb": {"trunk": {"mark": 3.0}}, "E_t_ir": {"trunk": {"mark": 4.0}}}
    batch_stats = {name: {"trunk": {"seen": jnp.zeros(())}} for name in ("E_t_rgb", "E_t_ir")}
    values = np.array([[0.5, 0.25], [0.125, 0.75]])
    x = jnp.asarray(np.broadcast_to(values[:, :, None, None, None], (2, 2, 4, 4, 3)), jnp.float32)
    made, _ = generation.generate(params, batch_stats, x, {"rebuilt", "alternative"})
    cycled = generation.cycle(params, made)
    for n, (value_a, value_b) in enumerate(values):
        a, b = encoded(value_a, 0), encoded(value_b, 1)
        x_ba = sum((b.p, b.t, a.pose, a.illumination))
        x_ab = sum((a.p, a.t, b.pose, b.illumination))
        of_x_ba, of_x_ab = encoded(x_ba, 0), encoded(x_ab, 1)  # by the encoders of the modality that they look like
        expected = {
            "rebuilt": (sum((a.p, b.t, a.pose, a.illumination)), sum((b.p, a.t, b.pose, b.illumination))),
            "crossed": (x_ba, x_ab),
            "alternative": (sum((b.p, b.t, b.pose, a.illumination)), sum((a.p, a.t, a.pose, b.illumination))),
            "cycled": (
                sum((of_x_ab.p, b.t, a.pose, a.illumination)),
                sum((of_x_ba.p, a.t, b.pose, b.illumination)),
            ),
        }
        images = {"rebuilt": made.rebuilt, "crossed": made.crossed, "alternative": made.alternative, "cycled": cycled}
        for name, pair in expected.items():
            np.testing.assert_allclose(images[name][n, :, 0, 0, 0], pair, rtol=1e-6, err_msg=name)


def test_images_that_no_term_needs_are_not_made():
    _, stage, state, _ = system()
    weights = {term: weight for term, weight in stage.weights.items() if term not in ("L_same", "L_adv", "L_D")}
    stage = dataclasses.replace(stage, weights=weights)
    x = jax.ShapeDtypeStruct((1, 2, 16, 8, 3), jnp.float32)

    def generate(x):
        return stage.generation.generate(state.params, state.batch_stats, x, stage.wanted)[0]

    made = jax.eval_shape(jax.vmap(generate, axis_name="batch"), jax.ShapeDtypeStruct((1, *x.shape), x.dtype))
    assert made.rebuilt is None
    assert made.alternative is None
    assert made.crossed.shape == (1, *x.shape)


@pytest.mark.parametrize("shots", [1, 2])
def test_every_identity_gives_pairs(shots):
    x = np.arange(4 * 2 * shots).reshape(4, 2, shots)
    arranged = sources(jnp.asarray(x), "pairs")
    expected = [[x[identity, :, shot]] for identity in range(4) for shot in range(shots)]
    np.testing.assert_array_equal(arranged, expected)


@pytest.mark.parametrize("devices", [1, 2])
def test_of_three_identities_one_gives_pairs_and_two_give_negatives(devices):
    """Devices divide six identities without changing which images are together."""
    x = np.arange(6 * 2 * 2).reshape(6, 2, 2)
    arranged = np.concatenate([sources(jnp.asarray(part), "unpaired") for part in np.split(x, devices)])
    expected = []
    for pair, rgb, ir in ((0, 1, 2), (3, 4, 5)):
        expected += [[[x[pair, 0, shot], x[pair, 1, shot]], [x[rgb, 0, shot], x[ir, 1, shot]]] for shot in (0, 1)]
    np.testing.assert_array_equal(arranged, expected)


def test_mixtures_join_the_prototype_of_one_image_with_the_attributes_of_the_other():
    """Dropout off, one source of two pairs: the head sees real images, crossed images and both mixtures."""
    _, stage, state, _ = system()
    recognition = dataclasses.replace(stage.recognition, head=stage.recognition.head.clone(dropout=0.0))
    x, crossed = jax.random.normal(KEY, (2, 2, 2, 16, 8, 3))
    label = jnp.array([[[4, 4]], [[2, 2]]])

    def compute(x, crossed, label):
        params, batch_stats = state.params, state.batch_stats
        samples, _ = recognition.train(params, batch_stats, x[:, None], crossed, label, KEY)
        (p, t), _ = recognition.encode(params, batch_stats, x)
        (p_crossed, t_crossed), _ = recognition.encode(params, batch_stats, crossed)

        def logits(*rows):
            p, t = (jnp.stack(parts, axis=1) for parts in zip(*rows, strict=True))
            return recognition.recognise(params, batch_stats, p, t, KEY)[0][0]

        real = logits((p, t))
        generated = logits((p_crossed, t_crossed), (p, t_crossed), (p_crossed, t))
        return samples, real, generated

    on_device = jax.jit(jax.vmap(compute, axis_name="batch"))
    samples, real, generated = jax.tree.map(lambda leaf: leaf[0], on_device(x[None], crossed[None], label[None]))
    assert samples.logits.shape == (2, 4, 2, CLASSES)
    np.testing.assert_allclose(samples.logits[:, :1], real, rtol=1e-5)
    np.testing.assert_allclose(samples.logits[:, 1:], generated, rtol=1e-5)
    assert np.unique(np.round(samples.logits[0, :, 0, 0], 6)).size == 4


# ---------------------------------------------------------------- after training


def images(count: int = 4):
    """Draws RGB images and then as many grey ones."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 16, 8, 3), np.uint8)
    pixels[count // 2 :] = pixels[count // 2 :, ..., :1]
    return normalise(pixels)


def test_grey_images_are_infrared():
    x = images()
    np.testing.assert_array_equal(guessed_modality(x), [0, 0, 1, 1])
    rounded, pale = [[100, 101, 100], [100, 100, 100]], [[100, 102, 100], [100, 102, 100]]
    almost = normalise(np.array([[rounded, rounded], [pale, pale]], np.uint8))
    np.testing.assert_array_equal(guessed_modality(almost), [1, 0])


@pytest.mark.parametrize("size", [(4, 2), (3, 1), (5, 3)])
def test_an_enlarged_map_keeps_the_mean_of_each_channel(size):
    x = jax.random.normal(KEY, (2, 2, 1, 3))
    large = enlarged(x, *size)
    assert large.shape == (2, *size, 3)
    np.testing.assert_allclose(large.mean((1, 2)), x.mean((1, 2)), atol=1e-6)
    if size == (4, 2):
        np.testing.assert_array_equal(large, x.repeat(2, axis=1).repeat(2, axis=2))


def test_features_read_prototypes_and_identity_attributes_of_each_image_s_own_encoders():
    _, stage, state, _ = system()
    other = {
        name: jax.tree.map(lambda x: x + 0.1, tree) if name.endswith("_ir") else tree
        for name, tree in state.params.items()
    }
    state, x = dataclasses.replace(state, params=other), images()
    modality = jnp.array([1, 0, 0, 1])
    features = jax.jit(stage.features)(state, x, modality)
    assert features.shape == (4, 8)
    alone = [jax.jit(stage.features)(state, x, jnp.full(4, kind)) for kind in (0, 1)]
    assert np.abs(alone[0] - alone[1]).min(1).max() > 1e-4
    expected = np.where(np.array([[1], [0], [0], [1]]), alone[1], alone[0])
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    p, attributes = stage.parts(state, x, modality)
    pooled = stage.recognition.trunk.apply(state.variables("HFL"), p, train=False)
    direct = stage.recognition.feature(state.params, state.batch_stats, pooled, attributes.t)
    np.testing.assert_allclose(features, direct, rtol=1e-4, atol=1e-5)
    parts = {"p": pooled, "t": attributes.t, "e": attributes.e}
    assert list(stage.controls) == list(parts)
    for name, control in stage.controls.items():
        np.testing.assert_allclose(control.features(state, x, modality), parts[name], rtol=1e-4, atol=1e-5)


def test_pose_and_illumination_do_not_reach_the_feature():
    """Changes them in every slice of the attributes' channels of the feature map."""
    _, stage, state, _ = system()
    feature_map, modality = jax.random.normal(KEY, (2, 2, 1, 16 + 32)), jnp.array([0, 1])
    before = stage.features_of_map(state, feature_map, modality)
    for slot, is_read in ((slice(0, 4), True), (slice(4, 6), False), (slice(6, 8), False)):
        changed = np.array(feature_map)
        for k in range(4):
            changed[..., 16 + 8 * k : 16 + 8 * (k + 1)][..., slot] += 1
        after = stage.features_of_map(state, jnp.asarray(changed), modality)
        assert np.array_equal(before, after) != is_read


def test_a_rendered_image_has_the_pose_of_one_image_and_all_else_of_another():
    _, stage, state, _ = system()
    x = images()
    structure, appearance = x[jnp.array([0, 2])], x[jnp.array([3, 1])]
    p, a = stage.parts(state, appearance, jnp.array([1, 0]))
    _, s = stage.parts(state, structure, jnp.array([0, 1]))
    expected = stage.generation.draw(state.params, p, Attributes(a.identity, s.pose, a.illumination))
    rendered = stage.render(state, structure, appearance)
    np.testing.assert_allclose(rendered, expected, rtol=1e-4, atol=1e-5)
    between = stage.interpolate(state, structure, structure, appearance, 3)
    np.testing.assert_allclose(between[:, 2], rendered, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(between[:, 0], stage.render(state, structure, structure), rtol=1e-4, atol=1e-5)


def test_pictures_combine_all_images():
    _, stage, state, _ = system()
    x = images()
    grids = jax.jit(stage.pictures)(state, x)
    assert {name: grid.shape[:2] for name, grid in grids.items()} == {
        "swapped": (4, 4),
        "between_appearances": (4, 7),
        "between_structures": (4, 7),
        "illuminated": (4, 4),
    }
    p, own = stage.parts(state, x, jnp.array([0, 0, 1, 1]))
    for row in range(4):
        rendered = stage.render(state, jnp.repeat(x[row][None], 4, axis=0), x)
        np.testing.assert_allclose(grids["swapped"][row].astype(int), denormalise(rendered).astype(int), atol=1)
        light = jnp.repeat(own.illumination[row][None], 4, axis=0)
        lit = denormalise(stage.generation.draw(state.params, p, own._replace(illumination=light)))
        np.testing.assert_allclose(grids["illuminated"][row].astype(int), lit.astype(int), atol=1)
    np.testing.assert_array_equal(grids["between_structures"][:, 0], grids["between_appearances"][:, 0])


def test_codes_are_flat_but_for_the_slices_of_the_pose():
    _, stage, state, _ = system()
    a, s = stage.codes(state, images())
    _, attributes = stage.parts(state, images(), jnp.array([0, 0, 1, 1]))
    assert a.shape == (4, 16 + 16 + 8)
    np.testing.assert_allclose(s, attributes.pose, rtol=1e-5)
    np.testing.assert_allclose(a[:, 16:32], attributes.t, rtol=1e-5)
