"""Hi-CMD with thin networks: its terms, whom they train, running statistics, devices, and what it refuses."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import sysu_hicmd
from rgbir_jax import stages
from rgbir_jax.data import augment
from rgbir_jax.models.attributes import Attributes
from rgbir_jax.stages.hicmd_generation import Generated
from rgbir_jax.stages.hicmd_recognition import Samples
from rgbir_jax.training import parallel
from tests.stages.thin_hicmd import CLASSES, patches, system

KEY = jax.random.key(0)
ENCODERS = {"E_p_rgb", "E_p_ir", "E_t_rgb", "E_t_ir"}
REACHES = {
    "L_same": ENCODERS | {"G"},
    "L_cross": ENCODERS | {"G"},
    "L_cycle": ENCODERS | {"G"},
    "L_code": ENCODERS | {"G"},
    "L_kl": {"E_t_rgb", "E_t_ir"},
    "L_adv": ENCODERS | {"G"},
    "L_D": {"D_rgb", "D_ir"},
    "L_R1": {"D_rgb", "D_ir"},
    "L_CE": ENCODERS | {"HFL", "w", "head"},
    "L_trip": ENCODERS | {"HFL", "w", "head"},
}
ALL = len(REACHES)  # the iteration at which every term has its weight


@cache
def train_step(preset: str):
    """Compiles iterations of batches [device, ...]. In iteration k < ALL only term k of `REACHES` has a weight, 1."""
    _, stage, _, _ = system(preset)

    def weight(k, final):
        return lambda step: jnp.where(step == k, 1.0, jnp.where(step >= ALL, final(step), 0.0))

    weights = {term: weight(k, stage.weights[term]) for k, term in enumerate(REACHES)}
    single = dataclasses.replace(stage, weights=weights)
    return jax.jit(jax.vmap(single.train_step, (None, 0, None), axis_name=parallel.AXIS))


def after(preset: str, state, batch, iteration: int = ALL, devices: int = 1):
    """Returns (state, metrics) of every device after an iteration."""
    split = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
    return train_step(preset)(dataclasses.replace(state, step=jnp.int32(iteration)), split, KEY)


def first(tree):
    return jax.tree.map(lambda x: np.asarray(x[0]), tree)


def changes(tree, before):
    """Returns the largest change of each network's parameters."""
    return {
        name: max(jax.tree.leaves(jax.tree.map(lambda new, old: np.abs(new - old).max(), tree[name], before[name])))
        for name in before
    }


def symmetric(batch):
    """Makes images that flipping does not change."""
    return batch | {"image": jnp.maximum(batch["image"], batch["image"][..., ::-1, :])}


def test_l_total_is_the_weighted_sum_of_the_terms():
    config, _, state, batch = system("paper")
    _, metrics = first(after("paper", state, batch))
    weights = config.hicmd.weights.to_dict()
    assert set(weights) == set(REACHES)
    norms = {f"gradient_norm/{network}" for network in state.params}
    assert set(metrics) == {*REACHES, "L_total", "accuracy", *norms}
    expected = sum(weights[term] * float(metrics[term]) for term in REACHES)
    assert metrics["L_total"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("term", REACHES)
def test_each_term_trains_the_networks_it_should_and_no_other(term):
    _, _, state, batch = system("paper")
    trained, _ = first(after("paper", state, batch, list(REACHES).index(term)))
    assert {name for name, change in changes(trained.params, state.params).items() if change > 0} == REACHES[term]


def test_only_l_ce_trains_the_classifier_and_only_l_trip_the_triplet_layer():
    _, _, state, batch = system("paper")
    for term, layer, other in (("L_CE", "classifier", "triplet_layer"), ("L_trip", "triplet_layer", "classifier")):
        trained, _ = first(after("paper", state, batch, list(REACHES).index(term)))
        change = changes(trained.params["head"], state.params["head"])
        assert change[layer] > 0
        assert change[other] == 0


def test_a_tiny_batch_can_be_overfitted():
    _, _, state, batch = system("paper")
    trained, history = dataclasses.replace(state, step=jnp.int32(ALL)), []
    for _ in range(150):
        outputs = train_step("paper")(trained, jax.tree.map(lambda x: x[None], symmetric(batch)), KEY)
        trained, metrics = jax.tree.map(lambda x: x[0], outputs)
        history.append(metrics)
    start, end = history[0], history[-1]
    assert end["accuracy"] == 1
    assert end["L_CE"] < 0.3 * start["L_CE"]
    assert end["L_trip"] < 0.5 * start["L_trip"]
    for term in ("L_same", "L_cross", "L_cycle"):
        assert end[term] < 0.7 * start[term]


def test_one_device_and_two_agree():
    """Half of the negatives are on the other device. Dropout and erasing are on."""
    _, _, state, batch = system("released")
    one, two = after("released", state, batch), after("released", state, batch, devices=2)
    for replicas in jax.tree.leaves(two):
        np.testing.assert_array_equal(replicas, np.broadcast_to(replicas[:1], replicas.shape))
    (one, metrics), (two, metrics_of_two) = first(one), first(two)
    for name, value in metrics.items():
        assert metrics_of_two[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    for start, new, other in zip(*map(jax.tree.leaves, (state.params, one.params, two.params)), strict=True):
        step = new - start
        assert np.abs(step).max() > 0
        np.testing.assert_allclose(other - start, step, rtol=1e-2, atol=1e-3 * np.abs(step).max() + 1e-7)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), one.batch_stats, two.batch_stats)


def test_generated_images_and_mixtures_move_no_running_statistics():
    _, _, state, batch = system("released")
    other_G = dataclasses.replace(state, params=state.params | {"G": jax.tree.map(lambda x: 1 - x, state.params["G"])})
    (one, metrics), (two, metrics_of_two) = (first(after("released", start, batch)) for start in (state, other_G))
    assert metrics["L_cross"] != metrics_of_two["L_cross"]
    jax.tree.map(np.testing.assert_array_equal, one.batch_stats, two.batch_stats)


def test_statistics_of_the_attribute_encoders_are_those_of_whole_real_images_of_pairs():
    """Identities 0 and 3 give pairs."""
    _, _, state, batch = system("released")
    batch = symmetric(batch)
    trained, _ = first(after("released", state, batch))
    for modality, name in enumerate(("E_t_rgb", "E_t_ir")):
        layer = state.params[name]["trunk"]["Dense_0"]
        pairs = augment.normalise(batch["image"][::3, modality, 0])
        mean = np.mean(patches(pairs, 8) @ layer["kernel"] + layer["bias"], axis=(0, 1, 2))
        running = trained.batch_stats[name]["trunk"]["BatchNorm_0"]["mean"]
        np.testing.assert_allclose(running, 0.1 * mean, rtol=1e-3, atol=1e-4)


def test_unpaired_images_are_negatives_only():
    """They change L_CE and L_trip, and none of the terms of generated images."""
    _, _, state, batch = system("released")
    _, metrics = first(after("released", state, batch))
    used = {(1, 0), (2, 1), (4, 0), (5, 1)}  # RGB of the second of three identities, IR of the third
    for identity, modality in ((i, m) for i in (1, 2, 4, 5) for m in (0, 1)):
        other = batch | {"image": batch["image"].at[identity, modality].set(0)}
        _, changed = first(after("released", state, other))
        different = {term for term in REACHES if metrics[term] != changed[term]}
        assert different == ({"L_CE", "L_trip"} if (identity, modality) in used else set())


@cache
def ingredients():
    """Computes what the terms are made of: (terms, images and outputs by name, samples)."""
    _, stage, state, _ = system()
    x = jax.random.normal(KEY, (4, 2, 16, 8, 3))

    def compute(x):
        params, batch_stats = state.params, state.batch_stats
        made, batch_stats = stage.generation.generate(params, batch_stats, x, stage.wanted)
        label = jnp.array([[[3, 3]], [[1, 1]], [[5, 5]], [[0, 0]]])
        samples, _ = stage.recognition.train(params, batch_stats, x[:, None], made.crossed, label, KEY)
        terms = stage.discriminator_terms(params, x, made)
        terms |= stage.generation_terms(params, batch_stats, params, x, made) | stage.recognition_terms(samples)
        found, _ = stage.generation.attributes(params, batch_stats, made.crossed)
        judged = {
            name: [stage.D(params, modality, images[:, modality]) for modality in (0, 1)]
            for name, images in (("x", x), ("crossed", made.crossed), ("alternative", made.alternative))
        }
        cycled = stage.generation.cycle(params, made)
        return terms, {"x": x, "made": made, "cycled": cycled, "found": found, "judged": judged}, samples

    return first(jax.jit(jax.vmap(compute, axis_name=parallel.AXIS))(x[None]))


def test_terms_of_images_by_hand():
    terms, outputs, _ = ingredients()
    x, made, found = outputs["x"], outputs["made"], outputs["found"]

    def l1(x, y):
        """Sums the mean absolute differences of RGB and of IR."""
        return sum(np.mean(np.abs(x[:, i].astype(float) - y[:, i])) for i in (0, 1))

    assert terms["L_same"] == pytest.approx(l1(x, made.rebuilt), rel=1e-5)
    assert terms["L_cross"] == pytest.approx(l1(x, made.crossed), rel=1e-5)
    assert terms["L_cycle"] == pytest.approx(l1(x, outputs["cycled"]), rel=1e-5)

    def rows(*parts):
        return np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=2)

    e, t = rows(made.attributes.pose, made.attributes.illumination), rows(made.attributes.identity)
    e_found, t_found = rows(found.pose, found.illumination), rows(found.identity)
    # x_ba, at place 0, was given e of a and t of b.
    t_given = np.stack([t[:, 1], t[:, 0]], axis=1)
    assert terms["L_code"] == pytest.approx(l1(e, e_found) + l1(t_given, t_found), rel=1e-5)
    assert terms["L_kl"] == pytest.approx(np.mean(e[:, 0] ** 2) + np.mean(e[:, 1] ** 2), rel=1e-5)


def test_an_iteration_brings_the_weight_of_prototypes_back_into_its_range():
    """Outside, a w that is only clipped where it is used would have no gradient."""
    _, _, state, batch = system("released")
    for start, bound in ((5.0, 1), (-5.0, 0)):
        outside = dataclasses.replace(state, params=state.params | {"w": {"w": jnp.float32(start)}})
        kept, _ = first(after("released", outside, batch))
        assert kept.params["w"]["w"] == bound


def test_both_sides_of_l_code_have_a_gradient():
    """Attributes that were given and the images from which they are found again; L1 has the gradient ±2 / size."""
    _, stage, state, _ = system()
    alone = dataclasses.replace(stage, weights={"L_code": stage.weights["L_code"]})
    code, crossed = jax.random.normal(KEY, (4, 2, 32)), jax.random.normal(KEY, (4, 2, 16, 8, 3))
    made = Generated(Attributes.of(code), None, crossed, None)

    def gradient(made):
        def term(made):
            return alone.generation_terms(state.params, state.batch_stats, {}, crossed, made)["L_code"]

        return jax.grad(term)(made)

    slope = first(jax.jit(jax.vmap(gradient, axis_name=parallel.AXIS))(jax.tree.map(lambda leaf: leaf[None], made)))
    for attributes in slope.attributes:
        np.testing.assert_allclose(np.abs(attributes), 2 / (4 * 2 * 16), rtol=1e-5)  # as many of t as of e: 16
    assert np.abs(slope.crossed).max() > 0


def test_terms_of_the_game_by_hand():
    terms, outputs, _ = ingredients()
    L_D, L_adv = 0.0, 0.0
    for modality in (0, 1):
        for fake in ("crossed", "alternative"):
            for scale in (0, 1):
                of_fake = outputs["judged"][fake][modality][scale].astype(float)
                of_real = outputs["judged"]["x"][modality][scale].astype(float)
                L_D += np.mean(of_fake**2) + np.mean((of_real - 1) ** 2)  # the real image once for each fake
                L_adv += np.mean((of_fake - 1) ** 2)
    assert terms["L_D"] == pytest.approx(L_D, rel=1e-5)
    assert terms["L_adv"] == pytest.approx(L_adv, rel=1e-5)


def test_r1_is_the_sum_over_both_discriminators():
    """The thin D of a patch is v · tanh(W x + b); scale 1 sees every other row of patches."""
    terms, outputs, _ = ingredients()
    _, _, state, _ = system()
    L_R1 = 0.0
    for modality, name in enumerate(("D_rgb", "D_ir")):
        params = jax.tree.map(np.float64, state.params[name])
        x = np.float64(patches(outputs["x"][:, modality]))
        hidden = np.tanh(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"])
        for scale in (0, 1):
            slope = (1 - hidden[:, :: scale + 1] ** 2) * params[f"scale_{scale}"]["kernel"][:, 0]
            gradient = slope @ params["Dense_0"]["kernel"].T
            L_R1 += np.sum(gradient**2) / len(x)
    assert terms["L_R1"] == pytest.approx(L_R1, rel=1e-4)


def test_terms_of_recognition_by_hand():
    terms, _, samples = ingredients()
    label = np.asarray(samples.label)
    np.testing.assert_array_equal(label, np.broadcast_to([[[3]], [[1]], [[5]], [[0]]], (4, 4, 2)))
    logits = samples.logits.reshape(-1, CLASSES).astype(float)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert terms["L_CE"] == pytest.approx(-np.mean(log_p[np.arange(32), label.ravel()]), rel=1e-5)
    assert terms["L_trip"] == pytest.approx(triplet_by_hand(samples.compared, label, pivots=range(4)), rel=1e-5)


def triplet_by_hand(compared, label, pivots) -> float:
    """Adds the means over the pivots of RGB and over those of IR; every sample is a target."""
    targets, y = compared.reshape(-1, compared.shape[-1]).astype(float), label.ravel()
    total = 0.0
    for modality in (0, 1):
        losses = []
        for n, source in np.ndindex(len(compared), compared.shape[1]):
            if source in pivots:
                cosines = targets @ compared[n, source, modality].astype(float)
                same = y == label[n, source, modality]
                strange, own = cosines[~same].max(), cosines[same].min()
                losses.append(max(0, strange + 0.5 - own) + (1 + strange) ** 2 + (1 - own) ** 2)
        total += np.mean(losses)
    return total


def test_negatives_are_targets_and_no_pivots():
    """Sources: the pairs, their negatives, crossed images and two mixtures."""
    _, stage, _, _ = system("released")
    compared = np.random.default_rng(0).normal(size=(2, 5, 2, 3))
    compared /= np.linalg.norm(compared, axis=-1, keepdims=True)
    label = np.array([[[y, y], [y + 2, y + 3]] + 3 * [[y, y]] for y in (0, 1)])
    samples = Samples(jnp.zeros((2, 5, 2, CLASSES)), jnp.asarray(compared, jnp.float32), jnp.asarray(label), real=2)

    def term(_):
        return stage.recognition_terms(samples)["L_trip"]

    loss = jax.vmap(term, axis_name=parallel.AXIS)(jnp.zeros(1))[0]
    assert loss == pytest.approx(triplet_by_hand(compared, label, pivots=(0, 2, 3, 4)), rel=1e-5)


def test_the_encoders_of_both_modalities_start_equal():
    _, _, state, _ = system()
    for encoder in ("E_p", "E_t"):
        jax.tree.map(np.testing.assert_array_equal, state.params[f"{encoder}_rgb"], state.params[f"{encoder}_ir"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("modalities", (0,), r"Hi-CMD needs RGB and IR; set config.modalities = \(0, 1\)"),
        ("batch.parts", 2, r"Hi-CMD trains on whole batches; set config.batch.parts = 1, not 2"),
        ("batch.identities", 1, r"a batch of one identity .* set config.batch.identities >= 2"),
        ("image_size", (30, 16), r"set 32 in place of 30"),
        ("hicmd.negatives", "thirds", r'config.hicmd.negatives "thirds" is unknown; choose "pairs" or "unpaired"'),
        ("hicmd.negatives", "unpaired", r"every device needs a multiple of 3 identities, not 8"),
        ("hicmd.networks.E_p.sees", "grey", r"config.hicmd.networks.E_p.sees is unknown to ResidualEncoder"),
    ],
)
def test_what_it_cannot_use_is_refused(key, value, message):
    config = sysu_hicmd.get_config()
    section, _, name = key.rpartition(".")
    (config if not section else config[section] if "." not in section else config.hicmd.networks.E_p)[name] = value
    with pytest.raises(ValueError, match=message):
        stages.build(config, "hicmd", CLASSES)


def test_too_many_devices_for_unpaired_negatives_are_refused():
    _, _, state, batch = system("released")
    with pytest.raises(ValueError, match=r"every device needs a multiple of 3 identities, not 1"):
        after("released", state, batch, devices=6)


PARAMETERS = {
    "E_p_rgb": 1_520_448,
    "E_p_ir": 1_520_448,
    "E_t_rgb": 23_508_032,
    "E_t_ir": 23_508_032,
    "G": 12_123_011,
    "D_rgb": 1_025_571,
    "D_ir": 1_025_571,
    "HFL": 8_317_952,
    "head": 7_107_979,
    "w": 1,
}


def count(shapes) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_numbers_of_parameters_at_full_size():
    stage = stages.build(sysu_hicmd.get_config(), "hicmd", 395)
    variables = {name: network.shapes() for name, network in stage.networks.items()}
    assert {name: count(shapes["params"]) for name, (shapes, _) in variables.items()} == PARAMETERS
    assert sum(PARAMETERS.values()) == 79_657_045
    assert variables["E_p_rgb"][1].shape == (1, 64, 32, 256)


@pytest.mark.slow
@pytest.mark.parametrize("preset", sysu_hicmd.PRESETS)
def test_the_full_size_step_is_lowered_in_bfloat16(preset):
    stage = stages.build(sysu_hicmd.get_config(preset), "hicmd", 395)
    state = jax.eval_shape(stage.init, KEY, {})
    batch = {name: jax.ShapeDtypeStruct((1, *shape), dtype) for name, (shape, dtype) in stage.batch_spec().items()}
    lowered = parallel.pmap(stage.train_step).lower(state, batch, KEY)
    after, metrics = lowered.out_info
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert all(value.shape == () and value.dtype == jnp.float32 for value in metrics.values())
    convolutions = [line for line in lowered.as_text().splitlines() if "stablehlo.convolution" in line]
    assert len(convolutions) > 500
    assert all("bf16" in line for line in convolutions)


def test_an_unknown_preset_is_named():
    with pytest.raises(ValueError, match='"jsia" is unknown; choose one of paper, released'):
        sysu_hicmd.get_config("jsia")
