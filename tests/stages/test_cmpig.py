"""cmPIG's two stages: their terms, which networks each of them reaches, and what the first leaves as it is."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import sysu_cmpig
from rgbir_jax import stages
from rgbir_jax.data.augment import normalise
from rgbir_jax.errors import UserError
from rgbir_jax.losses import adversarial, identity
from rgbir_jax.stages.cmpig_images import grey, large, small
from rgbir_jax.stages.views import Views
from tests.stages.steps import (
    CLASSES,
    KEY,
    check_lowers,
    drawn_state,
    first,
    full_size,
    on_devices,
    overfitted,
    reached,
    split,
)
from tests.tiny import drawn_batch, tiny_cmpig_config, tiny_config

STYLES, DECODERS, D = {"style_rgb", "style_ir"}, {"G_rgb", "G_ir"}, {"D_rgb", "D_ir"}
MODALITIES = ("rgb", "ir")


@cache
def system(name: str):
    """Returns (stage, state, batch) of one of the two stages."""
    config = tiny_cmpig_config()
    stage = stages.build(config, name, CLASSES)
    previous = {"generation": system("generation")[1]} if name == "cmpig" else {}
    return stage, drawn_state(stage, previous), drawn_batch(config)


@cache
def train_step(name: str):
    return on_devices(system(name)[0].train_step)


def without_D(params):
    return {name: tree for name, tree in params.items() if name not in D}


def batch_terms(stage, params, state, batch):
    """Computes the terms of a batch, not augmented. Returns (terms, real images, what is drawn)."""
    clean = normalise(batch["image"])
    view = Views(clean, clean, jnp.broadcast_to(batch["label"][:, None, None], clean.shape[:3]))
    x = stage.chosen(clean)
    made = stage.generate(params, state, x)
    terms, _, _ = stage.terms(params, state.params, state, x, made, view)
    return terms | stage.discriminator_terms(state.params, x, jax.lax.stop_gradient(made.twin)), x, made


def in_words(stage, state, x):
    """Applies the networks to real images as the publication's words say. In stage 2, BatchNorm sees its own batch."""
    trained = "E_sl" in state.params

    def of(network):
        variables = {"params": state.params[network]}
        return variables | ({"batch_stats": state.batch_stats[network]} if network in state.batch_stats else {})

    def E_sl(*x):
        """Encodes images in −1..1. Returns the content of each array."""
        seen, module = grey(large(jnp.concatenate(x))), stage.pieces["E_sl"]
        if trained:
            c, _ = module.apply(of("E_sl"), seen, train=True, mutable=["batch_stats"], method="feature_map")
        else:
            c = module.apply(state.frozen["E_sl"], seen, train=False, method="feature_map")
        return jnp.split(c, len(x))

    def style(m, x):
        return stage.style.apply(of(f"style_{MODALITIES[m]}"), x)

    def G(m, c, s):
        return stage.decoder.apply(of(f"G_{MODALITIES[m]}"), c, s)

    def D(m, x):
        return stage.discriminator.apply(of(f"D_{MODALITIES[m]}"), x)

    c_r, c_i = E_sl(*x)
    s_r, s_i = (style(m, x[m]) for m in (0, 1))
    f_r, f_i = G(0, c_i, s_r), G(1, c_r, s_i)
    c_r_again, c_i_again = E_sl(f_i, f_r)
    return {
        "c": (c_r, c_i),
        "s": (s_r, s_i),
        "same": (G(0, c_r, s_r), G(1, c_i, s_i)),
        "f": (f_r, f_i),
        "c_again": (c_r_again, c_i_again),
        "s_again": (style(0, f_r), style(1, f_i)),
        "cycle": (G(0, c_r_again, s_r), G(1, c_i_again, s_i)),
        "D_fake": [*D(0, f_r), *D(1, f_i)],
        "D_real": [*D(0, x[0]), *D(1, x[1])],
    }


@pytest.mark.parametrize("name", [pytest.param("generation", marks=pytest.mark.slow), "cmpig"])
def test_terms_of_generation_by_hand(name):
    stage, state, batch = system(name)

    def compute(state, batch, key):
        del key
        terms, x, _ = batch_terms(stage, state.params, state, batch)
        return terms, x, in_words(stage, state, x)

    terms, x, words = jax.device_get(first(on_devices(compute)(state, split(batch, 1), KEY)))
    assert words["f"][0].shape == words["f"][1].shape == (CLASSES, 32, 16, 3)
    assert len(words["D_fake"]) == 2

    def l1(ours, theirs):
        return sum(np.abs(np.float64(a) - b).mean() for a, b in zip(ours, theirs, strict=True))

    def squares(maps, target):
        return sum(((np.float64(one) - target) ** 2).mean() for one in maps)

    expected = {
        "L_recon": l1(words["same"], x),
        "L_cyc": l1(words["cycle"], x),
        "L_gan": squares(words["D_fake"], 1),
        "L_feature": l1(words["c_again"], words["c"]) + l1(words["s_again"], words["s"]),
        "L_D": squares(words["D_fake"], 0) + squares(words["D_real"], 1),
    }
    assert {term: float(terms[term]) for term in expected} == pytest.approx(expected, rel=1e-3)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_terms_of_recognition_by_hand():
    stage, state, batch = system("cmpig")

    def compute(state, batch, key):
        """Recognises real images, those that are drawn, and twins, as in training."""
        del key
        terms, x, made = batch_terms(stage, state.params, state, batch)

        def recognise(images):
            seen = {"params": state.params["E_sl"], "batch_stats": state.batch_stats["E_sl"]}
            module = stage.pieces["E_sl"]
            c, _ = module.apply(seen, grey(images), train=True, mutable=["batch_stats"], method="feature_map")
            return stage.recognise(state.params, state.batch_stats, c)[:2]

        real = recognise(normalise(batch["image"]).reshape(-1, 64, 32, 3))
        p, q = (recognise(large(jnp.concatenate(images)))[1] for images in (x, made.twin[::-1]))
        return terms, *real, p, q

    terms, pooled, logits, p, q = jax.device_get(first(on_devices(compute)(state, split(batch, 1), KEY)))
    label = np.repeat(np.arange(CLASSES), 4)
    target = 0.9 * np.eye(CLASSES)[label] + 0.1 / CLASSES

    is_ir = np.tile([False, False, True, True], CLASSES)
    by_anchor = []
    for a in range(len(label)):
        d = {b: np.linalg.norm(pooled[a] - pooled[b]) for b in range(len(label)) if is_ir[b] != is_ir[a]}
        farthest = max(d[b] for b in d if label[b] == label[a])
        by_anchor.append(max(0, 0.3 + farthest - min(d[b] for b in d if label[b] != label[a])))

    p, q = log_softmax(np.float64(p)), log_softmax(np.float64(q))
    both = (np.exp(p) * (p - q) + np.exp(q) * (q - p)).sum(1)
    expected = {
        "L_cls": -(target * log_softmax(logits)).sum(1).mean(),
        "L_triplet": np.mean(by_anchor),
        "L_align": both[:CLASSES].mean() + both[CLASSES:].mean(),
    }
    assert {term: float(terms[term]) for term in expected} == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_both_sides_of_l_feature_have_a_gradient():
    """Styles count as what is drawn and as what is found again: their gradient is the slope of the whole term."""
    stage, state, batch = system("generation")

    def compute(state, batch, key):
        x = stage.chosen(normalise(batch["image"]))
        made = stage.generate(state.params, state, x)

        def term(style):
            return stage.generation_terms(state.params, state.params, state, x, made._replace(style=style))["L_feature"]

        value, gradient = jax.value_and_grad(term)(made.style)
        moves = ((step * jnp.sign(part) for part in gradient) for step in (2e-3, -2e-3))
        up, down = (term(tuple(map(jnp.add, made.style, move))) for move in moves)
        return value, sum(jnp.sum(jnp.abs(part)) for part in gradient), (up - down) / 4e-3

    _, slope, rise = first(on_devices(compute)(state, split(batch, 1), KEY))
    assert float(rise) == pytest.approx(float(slope), rel=0.03)


def test_losses_of_the_game_by_hand():
    fake, real = [jnp.array([0.2, 0.6]).reshape(1, 2, 1, 1)], [jnp.array([0.9, 0.7]).reshape(1, 2, 1, 1)]
    assert adversarial.discriminator_loss(real, fake, "lsgan") == pytest.approx(0.25, rel=1e-6)
    assert adversarial.generator_loss(fake, "lsgan") / 2 == pytest.approx(0.4, rel=1e-6)


def test_divergence_of_twins_by_hand():
    fake, real = jnp.array([[1.0, 0, 0], [0, 2.0, 0]]), jnp.array([[0, 1.0, 0], [0, 1.0, 0]])
    assert identity.symmetric_kl(real, fake) == pytest.approx(0.469610, rel=1e-5)
    assert identity.kl_divergence(real, fake) == pytest.approx(0.238079, rel=1e-5)


@pytest.mark.parametrize("name", ["generation", "cmpig"])
def test_each_term_reaches_the_networks_it_should_and_no_other(name):
    stage, state, batch = system(name)
    found = reached(lambda params, batch: batch_terms(stage, params, state, batch)[0], without_D(state.params), batch)
    assert found.pop("L_D") == set()
    assert found.pop("L_feature") == STYLES | DECODERS
    of_images = STYLES | DECODERS | ({"E_sl"} if name == "cmpig" else set())
    recognition = {
        "L_cls": {"E_sl", "E_il", "neck"},
        "L_triplet": {"E_sl", "E_il"},
        "L_align": {"E_sl", "E_il", "neck"},
    }
    expected = dict.fromkeys(("L_recon", "L_cyc", "L_gan"), of_images)
    assert found == (expected | recognition if name == "cmpig" else expected)


def test_an_infrared_twin_shows_of_the_infrared_image_only_its_style():
    stage, state, batch = system("generation")
    constant = {name: jax.tree.map(jnp.zeros_like, tree) for name, tree in state.params.items() if name in STYLES}
    images = normalise(batch["image"])
    x, y = (stage.chosen(value) for value in (images, images.at[:, 1].multiply(-1)))
    draw = jax.jit(lambda params, x: stage.generate(params, state, x).twin)
    (f_r, f_i), (other_f_r, other_f_i) = (draw(state.params | constant, value) for value in (x, y))
    np.testing.assert_array_equal(f_i, other_f_i)
    assert np.abs(f_r - other_f_r).max() > 1e-3
    assert np.any(draw(state.params, x)[1] != draw(state.params, y)[1])


@pytest.mark.slow
def test_the_first_stage_leaves_the_resnet_as_it_is():
    _, state, batch = system("generation")
    after, metrics = first(train_step("generation")(state, split(batch, 1), KEY))
    assert set(metrics) == {*OF_IMAGES, "L_total"} | {f"gradient_norm/{name}" for name in STYLES | DECODERS | D}
    check_total(metrics, OF_IMAGES)
    jax.tree.map(np.testing.assert_array_equal, after.frozen, state.frozen)
    assert changed(after, state) == STYLES | DECODERS | D


def test_the_second_stage_trains_all_networks_of_the_first_and_the_resnet():
    """It runs on four devices, each with one identity: all negatives are on other devices."""
    _, previous, batch = system("generation")
    stage, state, _ = system("cmpig")
    for piece in ("E_sl", "E_il"):
        jax.tree.map(np.testing.assert_array_equal, state.params[piece], previous.frozen[piece]["params"])
    jax.tree.map(np.testing.assert_array_equal, state.params["G_rgb"], previous.params["G_rgb"])
    assert stage.needs == ("generation",)
    replicas = train_step("cmpig")(state, split(batch, 4), KEY)
    for leaf in jax.tree.leaves(replicas):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    after, metrics = first(replicas)
    check_total(metrics, OF_IMAGES | {"L_cls": 1, "L_triplet": 1, "L_align": 0.01})
    assert changed(after, state) == STYLES | DECODERS | D | {"E_sl", "E_il", "neck"}
    assert after.step == 1


OF_IMAGES = {"L_recon": 10, "L_cyc": 10, "L_gan": 1, "L_feature": 1, "L_D": 1}


def check_total(metrics, weights):
    total = sum(weight * float(metrics[term]) for term, weight in weights.items())
    assert metrics["L_total"] == pytest.approx(total, rel=1e-5)


def changed(after, before) -> set[str]:
    """Returns the networks all of whose parameters differ, and checks that the others are equal."""
    different = jax.tree.map(lambda new, old: bool(np.any(new != old)), after.params, before.params)
    networks = {name for name, tree in different.items() if any(jax.tree.leaves(tree))}
    assert all(all(jax.tree.leaves(different[name])) for name in networks)
    return networks


def test_twins_move_no_statistics():
    """Other twins, from other decoders, leave the running statistics as those of the real images."""
    _, state, batch = system("cmpig")
    other = state.replace(params=state.params | {"G_rgb": state.params["G_ir"]})
    one, two = (first(train_step("cmpig")(start, split(batch, 4), KEY))[0] for start in (state, other))
    jax.tree.map(np.testing.assert_array_equal, one.batch_stats, two.batch_stats)
    assert not np.array_equal(
        one.batch_stats["E_sl"]["trunk"]["bn1"]["mean"], state.batch_stats["E_sl"]["trunk"]["bn1"]["mean"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generation", "cmpig"])
def test_four_devices_give_what_one_gives(name):
    _, state, batch = system(name)
    one, four = (train_step(name)(state, split(batch, devices), KEY) for devices in (1, 4))
    given, expected = ({key: float(value) for key, value in first(metrics).items()} for _, metrics in (four, one))
    assert given == pytest.approx(expected, rel=2e-3, abs=1e-6)


@pytest.mark.slow
def test_a_tiny_batch_can_be_drawn():
    config = tiny_cmpig_config()
    before, after = overfitted(config, "generation", steps=80)
    assert after["L_recon"] < 0.7 * before["L_recon"]
    assert after["L_cyc"] < 0.7 * before["L_cyc"]


@pytest.mark.slow
def test_a_tiny_batch_can_be_overfitted():
    config = tiny_cmpig_config()
    previous = {"generation": jax.jit(stages.build(config, "generation", CLASSES).init)(KEY, {})}
    before, after = overfitted(config, "cmpig", steps=40, previous=previous)
    assert before["L_cls"] > 1.3
    assert after["L_cls"] < 0.6  # 0.35 is the least with a smoothed target
    assert after["L_triplet"] < 0.1 * before["L_triplet"]
    assert after["accuracy"] == 1


def test_pictures_and_features():
    stage, state, _ = system("cmpig")
    x = jax.random.normal(KEY, (4, 64, 32, 3))
    pictures = jax.jit(stage.pictures)(state, x)
    assert {name: grid.shape for name, grid in pictures.items()} == dict.fromkeys(
        ("swapped", "cycles"), (4, 4, 64, 32, 3)
    )

    @jax.jit
    def twin(content, style):
        """Draws the content of an image in the style of another one, an infrared image, as at test time."""
        c = stage.content(state.params, state, small(content[None]), train=False)
        s = stage.style.apply({"params": state.params["style_ir"]}, small(style[None]))
        return large(stage.decoder.apply({"params": state.params["G_ir"]}, c, s))[0]

    image = np.asarray(twin(x[1], x[2])) * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]
    np.testing.assert_allclose(pictures["swapped"][1, 2], np.clip(255 * image, 0, 255), atol=1)

    features = jax.jit(stage.features)
    rgb, ir = (features(state, x, jnp.full(4, modality, jnp.int32)) for modality in (0, 1))
    assert rgb.shape == (4, 128)
    np.testing.assert_array_equal(rgb, ir)
    tones = grey(x)
    np.testing.assert_allclose(features(state, tones, jnp.zeros(4, jnp.int32)), rgb, rtol=1e-2, atol=1e-3)


def test_the_full_size_networks_have_the_published_parameters():
    config = sysu_cmpig.get_config()
    _, generation, sizes, _ = full_size(config, "generation")
    frozen = {
        name: sum(leaf.size for leaf in jax.tree.leaves(tree["params"])) for name, tree in generation.frozen.items()
    }
    assert frozen == {"E_sl": 225_344, "E_il": 23_282_688}
    assert sizes == {
        f"{name}_{modality}": size
        for name, size in (("style", 709_824), ("G", 625_152 + 3_198_723), ("D", 1_380_802))
        for modality in MODALITIES
    }
    _, _, sizes, features = full_size(config, "cmpig", {"generation": generation})
    assert {name: sizes[name] for name in ("E_sl", "E_il", "neck")} == frozen | {"neck": 811_008}
    assert sum(sizes.values()) == 36_148_042
    assert (features.shape, features.dtype) == ((5, 2048), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_full_size_steps_lower(preset):
    config = sysu_cmpig.get_config(preset)
    check_lowers(config, "generation")
    check_lowers(config, "cmpig", {"generation": full_size(config, "generation")[1]})


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("batch", "parts", 2, "generation takes batches whole; set config.batch.parts to 1, not 2"),
        ("batch", "identities", 2, "generation.drawn.identities is 4, and a batch has 2; set it to at most these"),
        ("batch", "shots", 1, "config.generation.drawn.shots is 2, and a batch has 1"),
        ("config", "modalities", (0,), r"twins need RGB and IR; set config.modalities = \(0, 1\)"),
        ("config", "image_size", (66, 32), "images whose sides are multiples of 4; set 68 in place of 66"),
        ("config", "image_size", (64, 24), "D has 1 scales, which need images of 16 pixels or more, and these are"),
        ("config", "recipe", ("generation",), "generation learns to draw, not to find people; name a stage cmpig"),
    ],
)
def test_what_the_first_stage_cannot_use_is_refused(section, key, value, message):
    config = tiny_cmpig_config()
    config.generation.drawn.shots = 2
    (config if section == "config" else config[section])[key] = value
    with pytest.raises(UserError, match=message):
        stages.build(config, "generation", CLASSES)


def with_teacher():
    """Returns a recipe whose first stage takes the ResNet of a teacher."""
    config, teacher = tiny_cmpig_config(), tiny_config()
    config.teacher = teacher.teacher
    config.recipe = ("teacher", *config.recipe)
    config.generation.start_from = "teacher"
    return config


def test_the_resnet_of_a_classifier_is_cut_into_pieces():
    config = with_teacher()
    teacher, generation = (stages.build(config, name, CLASSES) for name in ("teacher", "generation"))
    before = drawn_state(teacher)
    after = drawn_state(generation, {"teacher": before})
    for kind, trunk in (("params", before.params), ("batch_stats", before.batch_stats)):
        pieces = [after.frozen[piece][kind]["trunk"] for piece in ("E_sl", "E_il")]
        assert not pieces[0].keys() & pieces[1].keys()
        jax.tree.map(np.testing.assert_array_equal, pieces[0] | pieces[1], trunk["E_a"]["trunk"])
    assert generation.needs == ("teacher",)


def test_another_resnet_than_that_of_the_classifier_is_refused():
    config = with_teacher()
    config.teacher.networks.E_a.width = 8
    with pytest.raises(UserError, match=r"generation starts from teacher: set config.teacher.networks.E_a.width to 4"):
        stages.build(config, "generation", CLASSES)
    config.teacher.networks.E_a.kind = "resnet18"
    with pytest.raises(UserError, match="generation starts from the ResNet-50 of an E_a, and teacher has none"):
        stages.build(config, "generation", CLASSES)


def test_identities_that_the_devices_cannot_divide_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    with pytest.raises(UserError, match=r"config.generation.drawn.identities is 4, which 3 devices cannot divide"):
        stages.build(tiny_cmpig_config(), "generation", CLASSES)


def test_the_second_stage_needs_the_first():
    config = tiny_cmpig_config()
    config.cmpig.start_from = ""
    with pytest.raises(UserError, match=r"cmpig needs the networks of a stage cmpig_generation; name it in config.c"):
        stages.build(config, "cmpig", CLASSES)
