"""The image-space system: its terms, their gradients, and what an iteration changes."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import sysu_image
from rgbir_jax import stages
from rgbir_jax.stages.image import ImageSystem
from rgbir_jax.stages.recognition import Recognised
from rgbir_jax.stages.views import flatten, views
from rgbir_jax.training import parallel
from rgbir_jax.training.state import State
from tests.tiny import drawn_batch, tiny_config

CLASSES = 4
KEY = jax.random.key(0)


@cache
def system(preset: str = "paper"):
    """Returns (config, ImageSystem, state), with a random teacher if the recipe has one."""
    config = tiny_config(preset)
    config.image.ramp.slope = {}  # every weight at its final value from the first iteration
    config.image.decay.warmup = 0
    previous = {}
    if "teacher" in config.recipe:
        previous["teacher"] = jax.jit(stages.build(config, "teacher", CLASSES).init)(jax.random.key(1), {})
    built = ImageSystem.build(config, "image", CLASSES)
    return config, built, jax.jit(built.init)(KEY, previous)


def compile_for_one_device(function):
    """Compiles a function of replicated arguments inside the axis that step bodies know."""
    compiled = jax.jit(jax.vmap(function, axis_name=parallel.AXIS))

    def call(*arguments):
        return jax.tree.map(lambda x: x[0], compiled(*jax.tree.map(lambda x: x[None], arguments)))

    return call


def one_device(function, *arguments):
    """Compiles a function and calls it once."""
    return compile_for_one_device(function)(*arguments)


def all_terms(built, params, state, batch, key):
    view = views(key, batch["image"], batch["label"], built.recipe.augment)
    x, targets = built.generate(params, state.batch_stats, view, key)
    terms = built.generator_terms(params, params["D"], state.frozen.get("teacher"), x, targets, key)
    return built.discriminator_terms(params["D"], targets.x_1, x.x_swap), terms


# make test-slow takes the other two as well.
PRESETS = pytest.mark.parametrize(
    "preset", ["paper", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dgnet", "released"))]
)
EVERYWHERE = {"E_s", "E_a", "G"}
REACHES = {
    "paper": {
        "L_simple": EVERYWHERE,
        "L_cross": EVERYWHERE,
        "L_id_orig": {"E_a", "head"},
        "L_id_recon": EVERYWHERE | {"head"},
        "L_code_s": EVERYWHERE,
        "L_code_a": EVERYWHERE,
        "L_adv_G": EVERYWHERE,
        "L_dis": {"E_a", "head"},
    },
    # E_a's code is detached, and a fixed copy of E_a judges swapped images. L_code_s is listed for the coin's side on
    # which the image learns; on the other side it reaches E_s only.
    "dgnet": {
        "L_simple": {"E_s", "G"},
        "L_cross": {"E_s", "G"},
        "L_id_orig": {"E_a", "head"},
        "L_fine_orig": {"E_a", "head_fine"},
        "L_fine_recon": {"E_a", "head_fine"},
        "L_id_recon": {"E_s", "G"},
        "L_code_s": {"E_s", "G"},
        "L_adv_G": {"E_s", "G"},
        "L_cycle": {"E_s", "G"},
        "L_dis": {"E_a", "head"},
    },
    # The heads see the structure code, through E_id, and a fixed copy of both encoders judges swapped images. The image
    # learns in L_code_s and L_cycle only on the coin's side that is listed.
    "released": {
        "L_simple": EVERYWHERE,
        "L_cross": EVERYWHERE,
        "L_id_orig": {"E_s", "E_id", "head"},
        "L_fine_orig": {"E_s", "E_id", "head_fine"},
        "L_fine_recon": {"E_s", "E_id", "head_fine"},
        "L_triplet": {"E_s", "E_id", "head", "head_fine"},
        "L_id_recon": EVERYWHERE,
        "L_code_s": EVERYWHERE,
        "L_adv_G": EVERYWHERE,
        "L_cycle": EVERYWHERE,
    },
}
ONLY_E_S_LEARNS = {  # terms whose reach is another on the coin's other side
    "paper": {},
    "dgnet": {"L_code_s": {"E_s"}},
    "released": {"L_code_s": {"E_s"}, "L_cycle": {"E_s", "G"}},
}


def key_of_coin(side: bool) -> jax.Array:
    """Returns a key for which the coin of `generator_terms` is `side`: True if E_s learns."""
    keys = map(jax.random.key, range(20))
    return next(key for key in keys if jax.random.bernoulli(jax.random.split(key)[1]) == side)


@PRESETS
def test_each_term_reaches_the_networks_it_should_and_no_other(preset):
    config, built, state = system(preset)
    trained = {name: params for name, params in state.params.items() if name != "D"}

    def reach(state, batch, key):
        def generator_terms(params):
            return all_terms(built, params | {"D": state.params["D"]}, state, batch, key)[1]

        terms, pullback = jax.vjp(generator_terms, {name: state.params[name] for name in trained})
        names = list(terms)
        one_hot = dict(zip(names, jnp.eye(len(names)), strict=True))
        (gradients,) = jax.vmap(pullback)(one_hot)
        size = {
            network: sum(jnp.abs(leaf).reshape(len(names), -1).sum(1) for leaf in jax.tree.leaves(tree))
            for network, tree in gradients.items()
        }
        return {term: {network: size[network][i] for network in size} for i, term in enumerate(names)}

    compiled = compile_for_one_device(reach)
    for coin in (False, True):
        sizes = compiled(state, drawn_batch(config), key_of_coin(coin))
        reached = {term: {network for network, size in row.items() if size > 0} for term, row in sizes.items()}
        assert reached == REACHES[preset] | (ONLY_E_S_LEARNS[preset] if coin else {})


@pytest.mark.parametrize("preset", ["paper", "dgnet"])
def test_the_teacher_uses_batch_statistics_and_averages_the_image_and_its_mirror_image(preset):
    """Compares q with its definition. The teacher's dropout and running statistics have no effect on it."""
    config, built, state = system(preset)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(6, *config.image_size, 3)), jnp.float32)
    teacher = state.frozen["teacher"]
    other_statistics = jax.tree.map(lambda x: 3 * x + 1, teacher["batch_stats"])
    system_with_dropout = replace(built, teacher=with_dropout(built.teacher))

    def ask(built, batch_stats, x):
        return built.ask_teacher({"params": teacher["params"], "batch_stats": batch_stats}, x)

    def softmax(x):
        def apply(module, name, x):
            variables = {"params": teacher["params"][name], "batch_stats": teacher["batch_stats"][name]}
            return module.apply(variables, x, train=True, mutable=["batch_stats"])[0]

        _, pooled = apply(built.teacher.encoder, "E_a", x)
        _, logits = apply(built.teacher.heads["head"].clone(dropout=0.0), "head", pooled)
        return jax.nn.softmax(logits)

    q = (one_device(softmax, x) + one_device(softmax, x[:, :, ::-1])) / 2
    for system_, batch_stats in ((built, teacher["batch_stats"]), (system_with_dropout, other_statistics)):
        log_q = one_device(partial(ask, system_), batch_stats, x)
        np.testing.assert_allclose(np.exp(log_q), q, rtol=1e-4, atol=1e-6)


def with_dropout(recogniser):
    return replace(recogniser, heads={name: head.clone(dropout=0.5) for name, head in recogniser.heads.items()})


def test_swapped_images_are_judged_without_dropout():
    """L_id_recon and L_code_a do not depend on the head's dropout. L_dis, which trains E_a, does."""
    config, built, state = system()
    other = replace(built, recogniser=with_dropout(built.recogniser))
    batch = drawn_batch(config)
    plain, dropped = (one_device(partial(generator_terms_of, system_), state, batch) for system_ in (built, other))
    for term in ("L_id_recon", "L_code_a"):
        assert plain[term] == pytest.approx(float(dropped[term]), rel=1e-5)
    assert plain["L_dis"] != pytest.approx(float(dropped["L_dis"]), rel=1e-3)


def generator_terms_of(built, state, batch):
    return all_terms(built, state.params, state, batch, KEY)[1]


def test_the_fine_head_trains_on_anchors_and_labels_swaps_by_their_structure():
    """Compares L_fine_orig and L_fine_recon of `dgnet` with values computed from E_a and the head."""
    config, built, state = system("dgnet")

    def both(state, batch):
        view = views(KEY, batch["image"], batch["label"], built.recipe.augment)
        x, targets = built.generate(state.params, state.batch_stats, view, KEY)
        terms = built.generator_terms(state.params, state.params["D"], state.frozen["teacher"], x, targets, KEY)
        real, _ = built.recogniser.train(state.params, state.batch_stats, flatten(view.clean), None)
        swap, _ = built.recogniser.train(state.params, state.batch_stats, x.x_swap, None)
        return terms, real.logits["head_fine"], swap.logits["head_fine"], view.label

    terms, real, swap, label = one_device(both, state, drawn_batch(config))
    identities, modalities, shots = label.shape
    real = np.reshape(jax.nn.log_softmax(real), (identities, modalities, shots, -1))[:, :, 0]
    swap = np.reshape(jax.nn.log_softmax(swap), (identities, modalities, -1))
    for term, log_p in (("L_fine_orig", real), ("L_fine_recon", swap)):
        chosen = [log_p[i, m, label[i, m, 0]] for i in range(identities) for m in range(modalities)]
        assert terms[term] == pytest.approx(-np.mean(chosen), rel=1e-4)


def test_both_heads_make_the_retrieval_feature_the_second_at_half_weight():
    config, built, state = system("dgnet")
    images = jnp.asarray(np.random.default_rng(2).normal(size=(3, *config.image_size, 3)), jnp.float32)
    features = jax.jit(built.features)(state, images, jnp.zeros(3, jnp.int32))
    by_head = jax.jit(lambda: built.recogniser(state.params, state.batch_stats, images).features)()
    first, second = (np.asarray(by_head[name]) for name in ("head", "head_fine"))
    np.testing.assert_allclose(features, np.hstack([first, second]), rtol=1e-4, atol=1e-6)
    expected = [np.hstack([f / np.sqrt(f @ f), s / np.sqrt(s @ s) / 2]) for f, s in zip(first, second, strict=True)]
    np.testing.assert_allclose(built.recogniser.normalise(features), expected / np.sqrt(1.25), rtol=1e-4, atol=1e-6)


def test_the_released_preset_recognises_people_by_their_structure():
    """Its features are the logits of both heads, the second at half weight. They depend on grey images only."""
    config, built, state = system("released")
    x = jnp.asarray(np.random.default_rng(2).normal(size=(3, *config.image_size, 3)), jnp.float32)
    features = jax.jit(lambda x: built.features(state, x, jnp.zeros(3, jnp.int32)))

    @jax.jit
    def logits(x):
        s = built.networks["E_s"].module.apply({"params": state.params["E_s"]}, jnp.mean(x, axis=-1, keepdims=True))
        seen = built.networks["E_id"].module.apply(state.variables("E_id"), s, train=False)
        return [built.networks[head].module.apply(state.variables(head), seen, train=False)[1] for head in HEADS]

    first, second = map(np.asarray, logits(x))
    assert first.shape == second.shape == (3, CLASSES)
    np.testing.assert_allclose(features(x), np.hstack([first, second]), rtol=1e-4, atol=1e-6)
    expected = [np.hstack([f / np.sqrt(f @ f), s / np.sqrt(s @ s) / 2]) for f, s in zip(first, second, strict=True)]
    np.testing.assert_allclose(built.normalise(features(x)), expected / np.sqrt(1.25), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(features(x + jnp.array([1.0, -1, 0])), features(x), rtol=1e-3, atol=1e-6)
    assert np.abs(features(x + 0.1 * x[:, ::-1]) - features(x)).max() > 1e-4


HEADS = ("head", "head_fine")


def test_identity_losses_of_the_released_preset():
    """A swapped image has the identity of its structure; the triplets come from the logits of all real images."""
    config, built, state = system("released")

    def compute(state, batch):
        view = views(KEY, batch["image"], batch["label"], built.recipe.augment)
        x, targets = built.generate(state.params, state.batch_stats, view, KEY)
        terms = built.generator_terms(state.params, state.params["D"], None, x, targets, KEY)
        swap, _ = built.recogniser.train(state.params, state.batch_stats, x.x_swap, None)
        return terms, x.real.logits, swap.logits["head"], flatten(view.label)

    terms, real, swap, label = one_device(compute, state, drawn_batch(config))
    y_1 = label[:: config.batch.shots]
    log_p = jax.nn.log_softmax(swap)
    assert terms["L_id_recon"] == pytest.approx(-float(np.mean(log_p[np.arange(len(y_1)), y_1])), rel=1e-4)
    expected = sum(hardest_triplets(real[head], label, 2.0) for head in HEADS)
    assert terms["L_triplet"] == pytest.approx(expected, rel=1e-4)


def hardest_triplets(x, label, margin) -> float:
    """Computes the mean of max(0, m + farthest of the same identity − nearest of another one), image by image."""
    x, losses = np.asarray(x, np.float64), []
    for i in range(len(x)):
        distance = {True: [], False: []}
        for j in range(len(x)):
            distance[bool(label[i] == label[j])].append(np.sqrt(((x[i] - x[j]) ** 2).sum()))
        losses.append(max(0.0, margin + max(distance[True]) - min(distance[False])))
    return float(np.mean(losses))


def test_triplets_of_the_features_that_the_heads_see():
    """They are E_a's last map, averaged over the image, before BatchNorm and dropout."""
    config, _, state = system("paper")
    config = config.copy_and_resolve_references()
    config.image.update({"triplet_on": "pooled", "margin": 0.3})
    config.image.weights.L_triplet = 1.0
    config.image.networks.E_a.pool = "avg"
    built = ImageSystem.build(config, "image", CLASSES)

    def compute(state, batch):
        view = views(KEY, batch["image"], batch["label"], built.recipe.augment)
        x, targets = built.generate(state.params, state.batch_stats, view, KEY)
        seen = flatten(view.erased)
        if built.recipe.augment.erase.probability:  # BatchNorm saw the images without rectangles too
            seen = jnp.concatenate([flatten(view.clean), seen])
        E_a = built.recogniser.encoder
        last_map, _ = E_a.apply(state.variables("E_a"), seen, train=True, mutable=["batch_stats"], method="feature_map")
        return built.generator_terms(*arguments(state), x, targets, KEY), last_map, flatten(view.label)

    def arguments(state):
        return state.params, state.params["D"], state.frozen["teacher"]

    terms, last_map, label = one_device(compute, state, drawn_batch(config))
    pooled = np.asarray(last_map, np.float64)[-len(label) :].mean(axis=(1, 2))
    expected = hardest_triplets(pooled, label, 0.3)
    assert expected > 0.1
    assert terms["L_triplet"] == pytest.approx(expected, rel=1e-4)


def test_triplets_are_found_in_the_whole_batch_of_all_devices():
    """Two devices give the loss and the gradient of one."""
    _, built, _ = system("released")
    p = jnp.asarray(np.random.default_rng(5).normal(size=(16, CLASSES)), jnp.float32)
    y = jnp.repeat(jnp.arange(4), 4)

    def recognised(p):
        return Recognised(code=p, pooled=p, features={}, logits={"head": p, "head_fine": p**2})

    def loss_and_gradient(devices):
        def of_device(p, y):
            value, gradient = jax.value_and_grad(lambda p: built.triplet_term(recognised(p), y))(p)
            return parallel.mean(value), gradient

        split = (x.reshape(devices, -1, *x.shape[1:]) for x in (p, y))
        value, gradient = jax.vmap(of_device, axis_name=parallel.AXIS)(*split)
        return value[0], gradient.reshape(p.shape) / devices

    one, two = loss_and_gradient(1), loss_and_gradient(2)
    np.testing.assert_allclose(one[0], two[0], rtol=1e-5)
    np.testing.assert_allclose(one[1], two[1], rtol=1e-4, atol=1e-6)
    assert np.abs(one[1]).max() > 0.01


def test_an_iteration_of_the_released_preset_trains_every_network():
    _, _, state, after, _ = one_iteration("released")
    assert set(state.params) == {"E_s", "E_a", "E_id", "head", "head_fine", "G", "D"}
    assert state.frozen == {}
    for trees in ((state.params, after.params), (state.batch_stats, after.batch_stats)):
        old, new = trees
        for network in old:
            pairs = zip(jax.tree.leaves(old[network]), jax.tree.leaves(new[network]), strict=True)
            assert any(np.any(np.asarray(a) != np.asarray(b)) for a, b in pairs), network


def test_heads_of_the_structure_do_not_start_from_heads_of_the_appearance():
    config = tiny_config("released")
    config.recipe = ("teacher", "image")
    config.teacher.networks.E_a.pool = config.image.networks.E_a.pool
    config.image.start_from = "teacher"
    with pytest.raises(ValueError, match=r"the head of teacher sees E_a.*leave config.image.start_from empty"):
        stages.build(config, "image", CLASSES)


def test_a_stage_starts_only_from_one_with_the_same_networks():
    config = tiny_config()
    config.teacher.networks.E_a.update({"pool": "max", "slices": "channel"})
    config.teacher.networks.head.dropout = 0.3
    message = r'image starts from teacher: set config.teacher.networks.E_a.pool to "avg" as well, not "max"'
    with pytest.raises(ValueError, match=message):
        stages.build(config, "image", CLASSES)
    config.teacher.networks.E_a.pool = "avg"
    stages.build(config, "image", CLASSES)  # the teacher does not slice, and dropout has no weights
    config.teacher.networks.head.bottleneck = 16
    with pytest.raises(ValueError, match=r"set config.teacher.networks.head.bottleneck to 8 as well, not 16"):
        stages.build(config, "image", CLASSES)


def test_an_image_stage_starts_from_an_image_stage():
    config, _, state = system()
    config = config.copy_and_resolve_references()
    config.drawing = config.image
    config.recipe = ("teacher", "drawing", "image")
    config.image = config.image.copy_and_resolve_references()
    config.image.start_from = "drawing"
    config.image.networks.heads = ("head", "head_fine")
    config.image.networks.head_fine = config.image.networks.head.copy_and_resolve_references()
    config.image.optimizers.head.networks = ("head", "head_fine")
    later = stages.build(config, "image", CLASSES)
    previous = {"teacher": State(0, **state.frozen["teacher"], opt_state={}), "drawing": state}
    started = later.init(jax.random.key(7), previous)
    assert set(started.params) - set(state.params) == {"head_fine"}
    for network in state.params:
        jax.tree.map(np.testing.assert_array_equal, started.params[network], state.params[network])
    for network in state.batch_stats:
        jax.tree.map(np.testing.assert_array_equal, started.batch_stats[network], state.batch_stats[network])
    config.drawing.networks.E_a.slices = "channel"
    with pytest.raises(ValueError, match=r'config.drawing.networks.E_a.slices to "part" as well, not "channel"'):
        stages.build(config, "image", CLASSES)


def test_swaps_across_modalities_need_both():
    config = tiny_config()
    config.image.swaps = "across"
    stages.build(config, "image", CLASSES)
    config.modalities = (0,)
    with pytest.raises(ValueError, match=r'config.image.swaps = "across" needs RGB and IR; set config.modalities'):
        stages.build(config, "image", CLASSES)


@pytest.mark.parametrize("kept", [{"L_simple", "L_cross", "L_id_orig"}, {"L_cross", "L_id_orig"}, {"L_id_orig"}])
def test_images_that_no_term_needs_are_not_generated(kept):
    """The other terms are the same, and nothing reaches D."""
    config, whole, state = system()
    config = config.copy_and_resolve_references()
    for term in set(config.image.weights) - kept:
        config.image.weights[term] = 0.0
    built = stages.build(config, "image", CLASSES)
    batch = drawn_batch(config)
    terms, expected = (one_device(partial(generator_terms_of, one), state, batch) for one in (built, whole))
    assert set(terms) == kept
    for term, value in terms.items():
        assert value == pytest.approx(float(expected[term]), rel=1e-5)

    def generated(state, batch):
        view = views(KEY, batch["image"], batch["label"], config.augment)
        return built.generate(state.params, state.batch_stats, view, KEY)[0]

    x = one_device(generated, state, batch)
    needed = (x.x_simple is not None, x.x_cross is not None, x.x_swap is not None)
    assert needed == ("L_simple" in kept, "L_cross" in kept, False)


def test_the_coin_of_l_code_s_gives_both_results():
    config, built, state = system("dgnet")

    def g_learns(state, batch, key):
        def l_code_s(params_G):
            params = state.params | {"G": params_G}
            view = views(KEY, batch["image"], batch["label"], built.recipe.augment)
            x, targets = built.generate(params, state.batch_stats, view, KEY)
            return built.generator_terms(params, params["D"], state.frozen["teacher"], x, targets, key)["L_code_s"]

        return jax.grad(l_code_s)(state.params["G"])

    lead = jax.tree.map(lambda x: x[None], (state, drawn_batch(config)))
    inner = jax.vmap(g_learns, (0, 0, None), axis_name=parallel.AXIS)
    gradients = jax.jit(jax.vmap(inner, (None, None, 0)))(*lead, jax.random.split(KEY, 8))
    sizes = sum(np.abs(leaf).reshape(8, -1).sum(1) for leaf in jax.tree.leaves(gradients))
    assert 0 < np.sum(sizes > 0) < 8


@cache
def one_iteration(preset: str = "paper"):
    """Trains one iteration. Returns (config, built, state before, state after, metrics)."""
    config, built, state = system(preset)
    after, metrics = one_device(built.train_step, state, drawn_batch(config), KEY)
    return config, built, state, after, metrics


@PRESETS
def test_l_total_is_the_weighted_sum_of_every_logged_term(preset):
    config, _, _, after, metrics = one_iteration(preset)
    weights = {term: weight for term, weight in config.image.weights.items() if weight}
    networks = {"E_s", "G", "D", "E_a", *config.image.networks.heads} | ({"E_id"} if preset == "released" else set())
    norms = {f"gradient_norm/{network}" for network in networks}
    assert set(metrics) == set(weights) | norms | {"L_total", "accuracy"}
    weighted = sum(w * float(metrics[term]) for term, w in weights.items())
    assert metrics["L_total"] == pytest.approx(config.image.total_scale * weighted, rel=1e-4)
    assert after.step == 1


def test_the_generator_plays_against_the_new_discriminator():
    config, built, state, after, metrics = one_iteration()

    def adversarial(state, batch, params_D):
        augment_key, generate_key, loss_key = jax.random.split(jax.random.fold_in(KEY, 0), 3)
        view = views(augment_key, batch["image"], batch["label"], built.recipe.augment)
        x, targets = built.generate(state.params, state.batch_stats, view, generate_key)
        return built.generator_terms(state.params, params_D, state.frozen["teacher"], x, targets, loss_key)["L_adv_G"]

    batch = drawn_batch(config)
    assert metrics["L_adv_G"] == pytest.approx(
        float(one_device(adversarial, state, batch, after.params["D"])), abs=1e-6
    )
    assert metrics["L_adv_G"] != pytest.approx(
        float(one_device(adversarial, state, batch, state.params["D"])), abs=1e-6
    )


@pytest.mark.parametrize(
    ("fixed", "expected"),
    [({"discrimination"}, {"E_s", "G", "E_a", "head"}), ({"generation", "trunk", "head"}, {"D"})],
)
def test_each_side_changes_only_its_own_parameters(fixed, expected):
    config, _, state, _, _ = one_iteration()
    config = config.copy_and_resolve_references()
    for group in config.image.optimizers:
        if group in fixed:
            config.image.optimizers[group].update({"learning_rate": 0.0})
    built = ImageSystem.build(config, "image", CLASSES)
    after, _ = one_device(built.train_step, state, drawn_batch(config), KEY)
    changed = {
        network
        for network in state.params
        if any(
            np.any(np.asarray(old) != np.asarray(new))
            for old, new in zip(
                jax.tree.leaves(state.params[network]), jax.tree.leaves(after.params[network]), strict=True
            )
        )
    }
    assert changed == expected


def test_running_statistics_come_only_from_real_images():
    """The statistics after an iteration are those of the pass over real images. The teacher's do not change."""
    config, built, state, after, _ = one_iteration()

    def real_pass(state, batch):
        augment_key, generate_key, _ = jax.random.split(jax.random.fold_in(KEY, 0), 3)
        view = views(augment_key, batch["image"], batch["label"], built.recipe.augment)
        return built.generate(state.params, state.batch_stats, view, generate_key)[1].batch_stats

    expected = one_device(real_pass, state, drawn_batch(config))
    for new, real, old in zip(*map(jax.tree.leaves, (after.batch_stats, expected, state.batch_stats)), strict=True):
        np.testing.assert_allclose(new, real, rtol=1e-5, atol=1e-6)
        assert np.any(np.asarray(new) != np.asarray(old))
    jax.tree.map(np.testing.assert_array_equal, after.frozen, state.frozen)


def test_one_generator_forward_pass_per_iteration():
    """An iteration costs as much as its two sides, minus one generation, which both sides need."""
    config, built, state = system()
    batch = drawn_batch(config)

    def flops(function, *arguments):
        lead = jax.tree.map(lambda x: x[None], arguments)
        return jax.jit(jax.vmap(function, axis_name=parallel.AXIS)).lower(*lead).compile().cost_analysis()["flops"]

    def generation(state, batch):
        view = views(KEY, batch["image"], batch["label"], built.recipe.augment)
        return built.generate(state.params, state.batch_stats, view, KEY)

    def generator_side(state, batch):
        def loss(params):
            return built.total(all_terms(built, params, state, batch, KEY)[1], state.step)

        return jax.grad(loss)({name: tree for name, tree in state.params.items()})

    def discriminator_side(state, x):
        return jax.grad(lambda p: built.total(built.discriminator_terms(p, x, x), state.step))(state.params["D"])

    x = jnp.zeros((8, *config.image_size, 3))
    whole = flops(built.train_step, state, batch, KEY)
    parts = flops(generator_side, state, batch) + flops(discriminator_side, state, x)
    assert whole < parts + 0.5 * flops(generation, state, batch)


@pytest.mark.parametrize("preset", ["paper", "dgnet", "released"])
def test_the_full_size_step_fits_together(preset):
    config = sysu_image.get_config(preset)
    previous = {}
    for name in config.recipe:
        stage = stages.build(config, name, 395)
        previous[name] = jax.eval_shape(stage.init, KEY, previous)
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), jax.eval_shape(lambda: drawn_batch(config))
    )
    after, metrics = jax.eval_shape(parallel.pmap(stage.train_step), previous["image"], batch, KEY)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), previous["image"]
    )
    assert all(value.shape == () and value.dtype == jnp.float32 for value in metrics.values())
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(after.params))
    images, modality = jax.ShapeDtypeStruct((5, 256, 128, 3), jnp.float32), jax.ShapeDtypeStruct((5,), jnp.int32)
    features = jax.eval_shape(stage.features, after, images, modality)
    length = {"paper": 512, "dgnet": 2 * 512, "released": 2 * 395}[preset]
    assert (features.shape, features.dtype) == ((5, length), jnp.float32)
    grids = jax.eval_shape(stage.pictures, after, jax.ShapeDtypeStruct((4, 256, 128, 3), jnp.float32))
    assert grids["swapped"].shape == (4, 4, 256, 128, 3)
    assert grids["between_structures"].shape == (4, 7, 256, 128, 3)


def test_a_tiny_batch_can_be_overfitted():
    """Images of four identities, without augmentation, are reconstructed and recognised."""
    config = tiny_config()
    config.image.networks.E_s.update({"width": 4, "code": 16})
    config.augment.update({"pad": 0, "erase": {"probability": 0.0, "area": (0.02, 0.4), "aspect": (0.3, 3.3)}})
    config.image.networks.head.dropout = 0.0
    for weight in ("L_adv_D", "L_adv_G", "L_dis"):
        config.image.weights[weight] = 0.0
    config.image.teacher = ""
    config.image.start_from = ""
    built = ImageSystem.build(config, "image", CLASSES)
    state = jax.jit(built.init)(KEY, {})
    batch = drawn_batch(config) | {"image": _smooth_people(config)}
    step = parallel.pmap(built.train_step)
    state, batch = parallel.replicate(jax.device_get(state)), parallel.shard(jax.device_get(batch))
    history = []
    for _ in range(60):
        state, metrics = step(state, batch, KEY)
        history.append(jax.device_get(metrics))
    assert history[-1]["L_simple"] < 0.5 * history[0]["L_simple"]
    assert history[-1]["L_cross"] < 0.5 * history[0]["L_cross"]
    assert history[-1]["accuracy"] == 1


def _smooth_people(config):
    """Draws one image per identity: a block of its own colour at its own height. The shots are equal."""
    image = np.full((4, 2, 2, *config.image_size, 3), 100, np.uint8)
    for identity, colour in enumerate(np.random.default_rng(3).integers(0, 256, (4, 3))):
        image[identity, :, :, 8 + 10 * identity : 28 + 10 * identity, 8:24] = colour
    return jnp.asarray(image)


def test_the_codes_are_compared_as_well():
    """`s` sees no colour and `a` does; both are compared as unit vectors."""
    _, built, state = system()
    x = jax.random.normal(KEY, (3, 64, 32, 3))
    recoloured = x + jnp.array([0.5, -0.5, 0.0])  # the same mean of the channels
    modality = jnp.zeros(3, jnp.int32)
    assert list(built.controls) == ["a", "s"]
    for code, control in built.controls.items():
        features, again = (control.features(state, images, modality) for images in (x, recoloured))
        assert np.allclose(features, again, atol=1e-4) == (code == "s")
        np.testing.assert_allclose(jnp.linalg.norm(control.normalise(features), axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        built.controls["a"].features(state, x, modality), built.codes(state, x)[0].reshape(3, -1)
    )
    s = built.codes(state, x)[1]
    quarters = [quarter.max(axis=(1, 2)) for quarter in jnp.split(s, 4, axis=1)]
    np.testing.assert_allclose(
        built.controls["s"].features(state, x, modality), jnp.concatenate(quarters, axis=1), atol=1e-5
    )
