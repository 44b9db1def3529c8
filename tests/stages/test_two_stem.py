"""AGW, CAJ, RLE and DEEN: their terms, what these reach, features, and a batch on one device and on four."""

from functools import cache

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from configs import sysu_agw, sysu_caj, sysu_deen, sysu_rle
from configs.quickstart import small
from rgbir_jax import stages
from rgbir_jax.errors import UserError
from rgbir_jax.training import parallel
from tests.losses.test_expansion import slow_pair_mining
from tests.stages.steps import reached
from tests.tiny import TWO_STEM, drawn_batch, tiny_two_stem_config
from tests.untrained import random_state

CLASSES = 4
SLOW = ("agw", "rle", "deen")
KEY = jax.random.key(0)
SIZES = {
    (sysu_agw, "agw"): {"body": 23_498_496 + 28_687, "neck": 811_008},
    (sysu_agw, "base"): {"body": 23_498_496, "neck": 811_008},
    (sysu_caj, "caj"): {"body": 23_498_496 + 28_687, "neck": 811_008},
    (sysu_rle, "rle"): {"body": 23_498_496} | {neck: 811_008 for neck in ("neck", "neck_1", "neck_2", "neck_3")},
    (sysu_deen, "deen"): {"body": 23_498_496 + 63_264 + 594_048 + 2_367_744 + 14_682_112, "neck": 811_008},
}


@cache
def system(name: str):
    """Returns (config, stage, a random state, batch)."""
    config = tiny_two_stem_config(name)
    stage = stages.build(config, name, CLASSES)
    return config, stage, random_state(stage, {}), drawn_batch(config)


def on_devices(function):
    """Compiles a function of (state, batch, key) for batches [device, ...]. It returns one result per device."""
    return jax.jit(jax.vmap(function, (None, 0, None), axis_name=parallel.AXIS))


@cache
def train_step(name: str):
    return on_devices(system(name)[1].train_step)


def split(batch, devices: int):
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def first(tree):
    return jax.tree.map(lambda x: x[0], tree)


@pytest.mark.parametrize(("recipe", "preset"), SIZES)
def test_sizes(recipe, preset):
    """Of all trained parameters, AGW has 24,357,263, its baseline 24,328,576, RLE 26,761,600, DEEN 42,035,744."""
    config = recipe.get_config(preset)
    (name,) = config.recipe
    stage = stages.build(config, name, 395)
    sizes = {
        network: sum(leaf.size for leaf in jax.tree.leaves(spec.shapes()[0]["params"]))
        for network, spec in stage.networks.items()
    }
    assert sizes == {"rgb": 9_536, "ir": 9_536} | SIZES[recipe, preset]


@pytest.mark.parametrize("name", ["caj", *(pytest.param(name, marks=pytest.mark.slow) for name in ("agw", "deen"))])
def test_one_device_and_four_do_the_same(name):
    """With one identity per device, every negative is on another device.

    RLE is compared in float64, by tests/training/test_devices.py: in float32, its gradients differ by more than this.
    """
    _, _, state, batch = system(name)
    one, four = (train_step(name)(state, split(batch, devices), KEY) for devices in (1, 4))
    for replicas in jax.tree.leaves(four):
        np.testing.assert_array_equal(replicas, np.broadcast_to(replicas[:1], replicas.shape))
    for key, value in one[1].items():
        np.testing.assert_allclose(four[1][key][0], value[0], rtol=2e-3, err_msg=key)
    for network in state.batch_stats:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[0], b[0], rtol=1e-3, atol=1e-4),
            one[0].batch_stats[network],
            four[0].batch_stats[network],
        )
    change = jax.tree.map(lambda new, old: np.abs(new - old).max(), first(four)[0].params, state.params)
    assert min(jax.tree.leaves(change)) > 0


def easy(state, batch):
    """Returns a state of short features, and grey, symmetric images.

    L_esd has no gradient where distances differ by more than 9.4. Flips and mixtures do not change such images.
    """
    trunk = dict(state.params["body"]["trunk"])
    for layer in ("layer4_0_bn3", "layer4_0_downsample_1"):
        trunk[layer] = jax.tree.map(lambda leaf: 0.2 * leaf, trunk[layer])
    image = batch["image"][..., :1].repeat(3, -1)
    image = np.maximum(image, image[..., ::-1, :])
    body = state.params["body"] | {"trunk": trunk}
    return state.replace(params=state.params | {"body": body}), batch | {"image": image}


@pytest.mark.parametrize("name", TWO_STEM)
def test_a_tiny_batch_can_be_overfitted(name):
    config, _, state, batch = system(name)
    state, batch = easy(state, batch)
    history = []
    for _ in range(40):
        state, metrics = first(train_step(name)(state, split(batch, 1), KEY))
        history.append(jax.device_get(metrics))
    weights = {term: weight for term, weight in config[name].weights.items() if weight}
    start = history[0]
    assert set(start) == {"L_total", "accuracy", *weights} | {f"gradient_norm/{network}" for network in state.params}
    assert start["L_total"] == pytest.approx(sum(weight * start[term] for term, weight in weights.items()), rel=1e-5)
    end = {key: np.mean([metrics[key] for metrics in history[-5:]]) for key in start}
    for term in weights.keys() - {"L_ort"}:  # the inner products of few long features are no measure of learning
        assert end[term] < 0.4 * start[term], term
    assert end["accuracy"] > 0.95


def rows_by_hand(pooled, *vectors):
    """Returns the rows that a neck sees, and their labels, identity by identity."""
    return [(pooled[i, k, vector], i) for i, k in np.ndindex(pooled.shape[:2]) for vector in vectors]


def batch_hard_by_hand(rows, margin=0.3):
    losses = []
    for x, y in rows:
        distances = [(np.sqrt(((x - other) ** 2).sum()), y == label) for other, label in rows]
        farthest = max(d for d, same in distances if same)
        losses.append(max(0, margin + farthest - min(d for d, same in distances if not same)))
    return np.mean(losses)


@pytest.mark.parametrize("devices", [1, 4])
def test_terms_of_parts_by_hand(devices):
    """The first neck sees the whole image; the terms of parts are means over the other three."""
    _, stage, _, _ = system("rle")
    rng = np.random.default_rng(0)
    pooled, label = rng.normal(size=(4, 3, 4, 6)), np.array([2, 0, 3, 1])
    logits = {neck: rng.normal(size=(12, CLASSES)) for neck in stage.necks}

    def compute(state, batch, key):
        return stage.terms(*batch)

    inputs = (jnp.asarray(pooled, jnp.float32), {n: jnp.asarray(x, jnp.float32) for n, x in logits.items()}, label)
    terms = on_devices(compute)(None, split(inputs, devices), KEY)
    y = np.repeat(label, 3)
    identity = [
        -np.mean([np.log(np.exp(x[c]) / np.exp(x).sum()) for x, c in zip(logits[n], y, strict=True)])
        for n in stage.necks
    ]
    triplet = [batch_hard_by_hand(rows_by_hand(pooled, vector)) for vector in range(4)]
    expected = {
        "L_id": identity[0],
        "L_id_part": np.mean(identity[1:]),
        "L_tri": triplet[0],
        "L_tri_part": np.mean(triplet[1:]),
    }
    assert set(terms) == set(expected)
    for term, value in expected.items():
        assert np.mean(terms[term]) == pytest.approx(value, rel=1e-5), term


@pytest.mark.parametrize("devices", [1, 4])
def test_terms_of_expansions_by_hand(devices):
    """Three vectors of an image are rows of one neck; centres are means over the images of a modality."""
    _, stage, _, _ = system("deen")
    rng = np.random.default_rng(1)
    pooled, label = 0.3 * rng.normal(size=(4, 4, 3, 6)), np.array([2, 0, 3, 1])
    logits = rng.normal(size=(48, CLASSES))

    def compute(state, batch, key):
        return stage.terms(*batch)

    inputs = jnp.asarray(pooled, jnp.float32), {"neck": jnp.asarray(logits, jnp.float32)}, label
    terms = on_devices(compute)(None, split(inputs, devices), KEY)
    y = np.repeat(label, 12)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    v, t = pooled[:, :2].mean(1), pooled[:, 2:].mean(1)
    expected = {
        "L_id": -np.mean([row[c] for row, c in zip(log_p, y, strict=True)]),
        "L_tri": batch_hard_by_hand(rows_by_hand(pooled, 0, 1, 2)),
        "L_cpm": sum(slow_pair_mining(v[:, 0], t[:, 0], v[:, i], t[:, i], 0.2) for i in (1, 2)),
        "L_ort": np.sum(pooled[:, :, 1] * pooled[:, :, 2]) / 48,
    }
    assert set(terms) == set(expected)
    for term, value in expected.items():
        assert np.mean(terms[term]) == pytest.approx(value, rel=1e-5), term


def test_each_term_reaches_the_networks_it_should_and_no_other():
    """Ranking losses see features before the necks; those of parts reach no other neck than their own."""
    _, stage, state, batch = system("rle")

    def compute(state, batch, key):
        x = batch["image"].astype(jnp.float32) / 128 - 1
        view = stages.two_stem.ChannelViews(x[:, 0], x[:, 1], batch["label"])

        def terms(params):
            pooled, logits, _ = stage.forward(params, state.batch_stats, view, key)
            return stage.terms(pooled, logits, view.label)

        return jax.jacrev(terms)(state.params)

    gradients = first(on_devices(compute)(state, split(batch, 1), KEY))
    reached = {
        term: {network for network, tree in networks.items() if any(np.any(leaf) for leaf in jax.tree.leaves(tree))}
        for term, networks in gradients.items()
    }
    below, parts = {"rgb", "ir", "body"}, {"neck_1", "neck_2", "neck_3"}
    assert reached == {
        "L_id": below | {"neck"},
        "L_id_part": below | parts,
        "L_tri": below,
        "L_tri_part": below,
    }


@pytest.mark.parametrize(
    ("name", "ranking"), [("agw", {"L_wrt"}), ("caj", {"L_esd"}), ("deen", {"L_tri", "L_cpm", "L_ort"})]
)
def test_terms_on_pooled_features_do_not_reach_the_neck(name, ranking):
    _, stage, state, batch = system(name)
    x = batch["image"].astype(jnp.float32) / 128 - 1
    rgb = jnp.concatenate([x[:, 0]] * (2 if name == "caj" else 1), axis=1)  # CAJ sees each RGB image twice

    def terms(params, rgb, ir, label):
        pooled, logits, _ = stage.forward(params, state.batch_stats, stages.two_stem.ChannelViews(rgb, ir, label), KEY)
        return stage.terms(pooled, logits, label)

    below = {"rgb", "ir", "body"}
    expected = {"L_id": below | {"neck"}} | dict.fromkeys(ranking, below)
    assert reached(terms, state.params, rgb, x[:, 1], batch["label"]) == expected


def test_an_image_depends_on_the_stem_of_its_modality_only():
    _, stage, state, _ = system("agw")
    x = jax.random.normal(KEY, (3, 48, 16, 3))

    @jax.jit
    def gradient(params, modality):
        def value(params):
            return jnp.sum(stage.features(state.replace(params=params), x, modality) ** 2)

        return jax.tree.map(lambda leaf: jnp.abs(leaf).max(), jax.grad(value)(params))

    for modality, own, other in ((0, "rgb", "ir"), (1, "ir", "rgb")):
        largest = gradient(state.params, jnp.full(3, modality, jnp.int32))
        assert not any(jax.tree.leaves(largest[other]))
        assert all(jax.tree.leaves(largest[own]))
    features = jax.jit(stage.features)
    rgb, ir = (features(state, x, jnp.full(3, modality, jnp.int32)) for modality in (0, 1))
    mixed = features(state, x, jnp.array([0, 1, 0], jnp.int32))
    np.testing.assert_allclose(mixed, np.where(np.array([[False], [True], [False]]), ir, rgb), rtol=1e-5, atol=1e-5)
    assert np.all(np.abs(rgb - ir).max(1) > 1e-3)


def test_features_of_both_kinds_by_hand():
    """A similarity of 0.8 a·a' + 0.2 b·b', a and b the unit vectors of the four features before and after BatchNorm."""
    _, stage, state, _ = system("rle")
    x, modality = jax.random.normal(KEY, (5, 48, 16, 3)), jnp.array([0, 1, 1, 0, 1], jnp.int32)

    @jax.jit
    def compute(state, x, modality):
        feature_map = stage.feature_map(state, x, modality)
        features = stage.features(state, x, modality)
        return (
            feature_map,
            stage.normalise(features),
            {kind: other.normalise(other.features(state, x, modality)) for kind, other in stage.controls.items()},
        )

    feature_map, features, controls = compute(state, x, modality)
    assert feature_map.shape == (5, 3, 1, 128)
    maps = np.asarray(feature_map, np.float64)
    pooled = [maps.mean((1, 2)), *(maps[:, i : i + 1].mean((1, 2)) for i in range(3))]
    after = []
    for neck, vectors in zip(("neck", "neck_1", "neck_2", "neck_3"), pooled, strict=True):
        norm, stats = state.params[neck]["norm"], state.batch_stats[neck]["norm"]
        after.append((vectors - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * norm["scale"])
    a, b = (np.concatenate(vectors, axis=1) for vectors in (pooled, after))
    a, b = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (a, b))
    np.testing.assert_allclose(features @ features.T, 0.8 * a @ a.T + 0.2 * b @ b.T, atol=1e-5)
    np.testing.assert_allclose(controls["pooled"], a, atol=1e-5)
    np.testing.assert_allclose(controls["neck"], b, atol=1e-5)
    assert system("agw")[1].controls == {}


@pytest.mark.parametrize("name", TWO_STEM)
def test_images_keep_an_axis_of_their_own_behind_the_body(name):
    """Converters of exported files cannot divide a product of the symbol `batch` again."""
    _, stage, state, _ = system(name)
    (batch,) = jax.export.symbolic_shape("batch")
    pooled = jax.ShapeDtypeStruct((batch, 3, 1, 128 * (3 if name == "deen" else 1)), jnp.float32)
    modality = jax.ShapeDtypeStruct((batch,), jnp.int32)
    traced = jax.make_jaxpr(lambda *arrays: stage.normalise(stage.features_of_map(state, *arrays)))(pooled, modality)
    reshapes = [equation for equation in equations(traced.jaxpr) if equation.primitive.name == "reshape"]
    assert reshapes
    for equation in reshapes:
        before, after = (variables[0].aval.shape for variables in (equation.invars, equation.outvars))
        assert [str(before[0]), str(after[0])].count("batch") in (0, 2), f"{before} -> {after}"


def equations(jaxpr):
    """Lists the operations of a function and of those that it calls."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def test_features_of_an_image_and_its_expansions():
    """The similarity is the mean of six inner products: of three unit vectors before BatchNorm, and of three after."""
    _, stage, state, _ = system("deen")
    x, modality = jax.random.normal(KEY, (3, 48, 16, 3)), jnp.array([0, 1, 1], jnp.int32)

    @jax.jit
    def compute(state, x, modality):
        return stage.feature_map(state, x, modality), stage.normalise(stage.features(state, x, modality))

    feature_map, features = compute(state, x, modality)
    maps = np.asarray(feature_map, np.float64)
    norm, stats = state.params["neck"]["norm"], state.batch_stats["neck"]["norm"]
    expected = np.zeros((3, 3))
    for vectors in np.split(maps.mean((1, 2)), 3, axis=1):
        for kind in (vectors, (vectors - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * norm["scale"]):
            unit = kind / np.linalg.norm(kind, axis=1, keepdims=True)
            expected += unit @ unit.T / 6
    np.testing.assert_allclose(features @ features.T, expected, atol=1e-5)


def test_classifiers_are_unused_after_training():
    stage = system("rle")[1]
    assert stage.unused_after_training == tuple(f"{neck}/classifier" for neck in stage.necks)


def two_stages(name: str = "agw"):
    """Returns a recipe of a teacher and a system that starts from it."""
    config = tiny_two_stem_config(name)
    config.image_size = (64, 16)
    config.teacher = small().teacher
    config.teacher.networks.E_a.update({"width": 4})
    config.recipe = ("teacher", name)
    config[name].start_from = "teacher"
    return config


def test_the_resnet_can_start_from_a_classifier():
    config = two_stages()
    teacher = random_state(stages.build(config, "teacher", CLASSES), {})
    stage = stages.build(config, "agw", CLASSES)
    assert stage.needs == ("teacher",)
    state = jax.jit(stage.init)(KEY, {"teacher": teacher})
    for kind in ("params", "batch_stats"):
        source, own = (getattr(some, kind) for some in (teacher, state))
        trunk = {name: source["E_a"]["trunk"][name] for name in own["rgb"]["trunk"]}
        jax.tree.map(np.testing.assert_array_equal, own["rgb"]["trunk"], trunk)
        jax.tree.map(np.testing.assert_array_equal, own["ir"]["trunk"], trunk)
        fresh = {name for name in own["body"]["trunk"] if name not in source["E_a"]["trunk"]}
        assert fresh == {"layer2_0_non_local", "layer3_0_non_local"}
        assert own["rgb"]["trunk"].keys() | own["body"]["trunk"].keys() - fresh == source["E_a"]["trunk"].keys()
        for name in own["body"]["trunk"].keys() - fresh:
            jax.tree.map(np.testing.assert_array_equal, own["body"]["trunk"][name], source["E_a"]["trunk"][name])
    leaves = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state.params)]
    assert len(leaves) == len(set(leaves))  # they are donated, so no two may share a buffer


def refused(config, message, name="agw"):
    with pytest.raises(UserError, match=message):
        stages.build(config, name, CLASSES)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("modalities", (0,), r"a two-stem network needs RGB and IR; set config.modalities = \(0, 1\)"),
        ("batch.identities", 1, "a batch of one identity has no different-identity pairs"),
        ("batch.parts", 4, "config.batch.parts = 4 leaves one identity per part"),
        ("agw.networks.pool", "max", 'config.agw.networks.pool "max" is unknown; choose "avg", "gem" or "parts"'),
        (
            "agw.networks.resnet.last_stride",
            3,
            "last_stride is 3; it must be a whole number of at least 1 and at most 2",
        ),
        ("agw.networks.resnet.non_local", (1, 1), r"set non_local to as many numbers, not \(1, 1\)"),
        ("agw.weights.L_id_part", 1.0, 'L_id_part is a term of body parts; set config.agw.networks.pool to "parts"'),
        ("agw.weights.L_tri", -1.0, "config.agw.weights.L_tri is -1.0; it must be a number of at least 0"),
        ("agw.similarity.neck", 0.0, 'config.agw.similarity compares nothing; give "neck" or "pooled" a weight'),
        ("agw.channels.mix", 1.5, "config.agw.channels.mix is 1.5; it must be a number of at least 0 and at most 1"),
        ("augment.erase.fill", (0.0, 1.0), r"config.augment.erase.fill is \(0.0, 1.0\); it must be a tuple of 3"),
    ],
)
def test_values_that_do_not_fit_are_refused(key, value, message):
    config = tiny_two_stem_config()
    config.update_from_flattened_dict({key: value})
    refused(config, message)


def test_names_that_nothing_has_are_refused():
    config = tiny_two_stem_config()
    config.agw.weights = config.agw.weights.to_dict() | {"L_rank": 1.0}
    refused(config, r'config.agw.weights: the term "L_rank" is unknown; choose "L_id", "L_id_part", "L_tri"')
    config = tiny_two_stem_config()
    config.agw.similarity = config.agw.similarity.to_dict() | {"logits": 1.0}
    refused(config, 'the kind of features "logits" is unknown; choose "neck" or "pooled"')


def test_a_start_that_does_not_fit_is_refused():
    config = two_stages()
    config.teacher.networks.E_a.width = 8
    refused(config, "agw starts from teacher: set config.teacher.networks.E_a.width to 4 as well, not 8")
    config = two_stages()
    config.teacher.networks.E_a.last_stride = 2
    refused(config, "agw starts from teacher: set config.teacher.networks.E_a.last_stride to 1 as well, not 2")
    config = two_stages()
    config.teacher.networks.E_a.kind = "resnet18"
    refused(config, "agw starts from the ResNet-50 of an E_a, and teacher has none; leave config.agw.start_from empty")


def test_an_image_too_low_for_its_parts_is_refused():
    config = tiny_two_stem_config("rle")
    config.image_size = (32, 16)
    refused(
        config,
        "2 rows cannot be pooled into 3 body parts; set config.image_size to a height 1.5 times as large",
        "rle",
    )


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "preset"), SIZES)
def test_the_full_size_step_lowers_in_bfloat16(recipe, preset):
    config = recipe.get_config(preset)
    (name,) = config.recipe
    assert config.dtype == "bfloat16"
    stage = stages.build(config, name, 395)
    state = jax.eval_shape(stage.init, KEY, {})
    batch = {key: jax.ShapeDtypeStruct((1, *shape), dtype) for key, (shape, dtype) in stage.batch_spec().items()}
    lowered = parallel.pmap(stage.train_step).lower(state, batch, KEY)
    after, metrics = lowered.out_info
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert all(value.shape == () and value.dtype == jnp.float32 for value in metrics.values())
    assert "bf16" in lowered.as_text()
