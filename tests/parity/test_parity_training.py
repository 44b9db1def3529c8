"""One iteration in JAX and in PyTorch gives the same terms and gradients, and updates D before E and G."""

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import sysu_image
from rgbir_jax import stages
from rgbir_jax.stages.image import ImageSystem
from rgbir_jax.stages.pairing import partners
from rgbir_jax.stages.views import flatten, views
from rgbir_jax.training import parallel
from rgbir_jax.training.optimizers import Optimizers
from tests.models.drawn import draw_leaves
from tests.parity.layouts import assert_alike, to_torch, torch
from tests.tiny import drawn_batch, tiny_config

pytestmark = pytest.mark.slow
CLASSES = 4


class Recording(Optimizers):
    """Optimisers that put the gradients into the optimiser states, so that a test can read them."""

    def __init__(self, inner: Optimizers):
        self.groups = inner.groups

    def update(self, gradients, params, opt_state):
        params, opt_state = super().update(gradients, params, opt_state)
        return params, opt_state | {f"gradient/{network}": gradient for network, gradient in gradients.items()}


def narrow(preset: str):
    """Returns the tiny recipe without dropout and ramps, with the full-size recipe's pooling and optimisers."""
    config = tiny_config(preset)
    config.image_size = (80, 40)  # E_s' dilations need ten columns of structure code
    full = sysu_image.get_config(preset)
    for name in full.recipe:
        networks = config[name].networks
        networks.E_a.pool = full[name].networks.E_a.pool
        for head in networks.heads:
            networks[head].dropout = 0.0
        config[name].optimizers = full[name].optimizers
        config[name].decay.warmup = 0
    config.image.start_from = ""
    # Every weight has its final value from the first iteration.
    config.image.ramp = ConfigDict({"start": 0, "slope": {}})
    # Adam's first step is the sign of the gradient, which can depend on rounding, so D gets SGD. Its learning rate is
    # high enough for L_adv_G to show the new D.
    config.image.optimizers.discrimination.update(full.image.optimizers.trunk)
    learning_rate = {"paper": 1e-3, "dgnet": 1e-5}[preset]
    config.image.optimizers.discrimination.update({"networks": ("D",), "learning_rate": learning_rate})
    return config


def random_state(stage, previous, rng):
    """Returns a state with random variables."""
    shapes = jax.eval_shape(stage.init, jax.random.key(0), previous)
    params, batch_stats, frozen = (
        draw_leaves(tree, rng) for tree in (shapes.params, shapes.batch_stats, shapes.frozen)
    )
    opt_state = stage.optimizers.init(params)
    return shapes.replace(step=jnp.int32(0), params=params, batch_stats=batch_stats, frozen=frozen, opt_state=opt_state)


@contextmanager
def smooth_rectifiers():
    """Replaces rectifiers by softplus in JAX and in PyTorch.

    Rounding can move a value near 0 to the other side of a rectifier's kink. In networks this small, one such unit
    changes a gradient by several percent. Terms are also compared with the real rectifiers.
    """

    def leaky(softplus):
        return lambda x, slope, *_: slope * x + (1 - slope) * softplus(x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flax.linen, "relu", jax.nn.softplus)
        patch.setattr(flax.linen, "leaky_relu", leaky(jax.nn.softplus))
        patch.setattr(torch.nn.functional, "relu", torch.nn.functional.softplus)
        patch.setattr(torch.nn.functional, "leaky_relu", leaky(torch.nn.functional.softplus))
        yield


def compile_step(stage):
    """Compiles `train_step` for one device; the optimiser states after it have the gradients."""
    recording = replace(stage, optimizers=Recording(stage.optimizers)).train_step

    def step(state, batch, key):
        with jax.default_matmul_precision("highest"):
            return recording(state, batch, key)

    compiled = jax.jit(jax.vmap(step, (None, 0, None), axis_name=parallel.AXIS))
    return lambda state, batch, key: jax.tree.map(
        lambda x: x[0], compiled(state, jax.tree.map(lambda x: x[None], batch), key)
    )


def augmented(key, batch, config):
    """Returns the views of the batch, flattened; `config` is the recipe's `augment`."""

    def view(batch):
        return views(key, batch["image"], batch["label"], config)

    return jax.tree.map(
        lambda x: flatten(x[0]), jax.vmap(view, axis_name=parallel.AXIS)(jax.tree.map(lambda x: x[None], batch))
    )


def twin_inputs(system, batch, key):
    """Returns (images, erased images, identities, partners, coin) of iteration 0, as the JAX step draws them."""
    augment_key, part_key = jax.random.split(jax.random.fold_in(key, 0))
    generate_key, loss_key = jax.random.split(part_key)

    view = augmented(augment_key, batch, system.recipe.augment)
    identities, modalities = batch["image"].shape[:2]
    partner = partners(jax.random.split(generate_key)[1], identities, modalities)
    coin = bool(jax.random.bernoulli(jax.random.split(loss_key)[1]))
    return *map(to_torch, (view.clean, view.erased)), *(to_torch(i).long() for i in (view.label, partner)), coin


def assert_same_gradients(twin, gradients):
    """Compares the gradients of each network, and of each parameter relative to its own norm and its network's."""
    from benchmarks.torch_twin import weights

    for name, network in twin.networks.items():
        ours = weights.convert(network, gradients[f"gradient/{name}"])
        theirs = {parameter: value.grad for parameter, value in network.named_parameters()}
        assert set(ours) == set(theirs)
        norm = torch.cat([gradient.flatten() for gradient in theirs.values()]).norm()
        assert norm > 0
        difference = {parameter: (ours[parameter] - theirs[parameter]).norm() for parameter in theirs}
        assert torch.stack(list(difference.values())).norm() <= 1e-3 * norm, name
        for parameter, gradient in theirs.items():
            assert difference[parameter] <= 1e-3 * gradient.norm() + 1e-4 * norm, f"{name}.{parameter}"


def image_system(config):
    """Returns (the image system, a state with random variables, a batch of noise)."""
    system = ImageSystem.build(config, "image", CLASSES)
    previous = {"teacher": jax.eval_shape(stages.build(config, "teacher", CLASSES).init, jax.random.key(0), {})}
    return system, random_state(system, previous, np.random.default_rng(0)), drawn_batch(config)


def image_twin(config, state):
    """Returns the image system's twin, with the state's variables and teacher."""
    from benchmarks.torch_twin import training

    teacher = training.ClassifierTwin(config.teacher, CLASSES)
    teacher.load(state.replace(**state.frozen["teacher"]))
    twin = training.ImageTwin(config.image, CLASSES, teacher)
    twin.load(state)
    return twin


TERMS = {
    preset: ["L_simple", "L_cross", "L_id_orig", "L_id_recon", "L_code_s", "L_adv_D", "L_adv_G", "L_dis", *others]
    for preset, others in {
        "paper": ["L_code_a"],
        "dgnet": ["L_fine_orig", "L_fine_recon", "L_R1", "L_cycle"],
    }.items()
}


@pytest.mark.parametrize("preset", ["paper", "dgnet"])
@pytest.mark.parametrize("rectifiers", [nullcontext, smooth_rectifiers])
def test_an_iteration_of_the_image_system(preset, rectifiers):
    """Terms (G's against the new D) and running means agree to 1e-4; with smooth rectifiers, gradients to 1e-3."""
    config = narrow(preset)
    config.teacher.networks.head.dropout = 0.9  # the teacher of L_dis must not use it
    system, state, batch = image_system(config)
    step = compile_step(system)
    for seed, side in ((0, False), (1, True)):  # both sides of the coin of L_code_s
        key = jax.random.key(seed)
        *images, coin = twin_inputs(system, batch, key)
        assert coin == side
        twin = image_twin(config, state)
        with rectifiers():
            after, metrics = step(state, batch, key)
            terms = twin.step(*images, coin)

        assert set(terms) == {name for name in metrics if name.startswith("L_")} - {"L_total"} == set(TERMS[preset])
        for term, value in terms.items():
            assert_alike(metrics[term], value)
        assert_alike(metrics["L_total"], twin.total(terms))
        weighted = sum(config.image.weights[term] * float(value) for term, value in terms.items())
        assert float(metrics["L_total"]) == pytest.approx(2 * weighted, rel=1e-4)
        for name in ("E_a", *config.image.networks.heads):
            assert_same_statistics(twin.networks[name], after.batch_stats[name])
        if rectifiers is smooth_rectifiers:
            assert_same_gradients(twin, after.opt_state)


@pytest.mark.parametrize("preset", ["paper", "dgnet"])
def test_dropout_is_only_in_terms_that_train_a_head(preset):
    """A twin without dropout agrees in the terms without a head, and in those that judge swapped images for G."""
    config = narrow(preset)
    for head in config.image.networks.heads:
        config.image.networks[head].dropout = 0.75
    system, state, batch = image_system(config)
    key = jax.random.key(0)
    *images, coin = twin_inputs(system, batch, key)
    _, metrics = compile_step(system)(state, batch, key)

    without = config.copy_and_resolve_references()
    for head in config.image.networks.heads:
        without.image.networks[head].dropout = 0.0
    terms = image_twin(without, state).step(*images, coin)
    dropped = {"L_id_orig", "L_dis", "L_fine_orig", "L_fine_recon"}
    for term, value in terms.items():
        if term in dropped:
            assert abs(float(metrics[term]) - float(value)) > 1e-2 * abs(float(value)), term
        else:
            assert_alike(metrics[term], value)
    # In the twin, too, a frozen copy judges without dropout.
    torch.manual_seed(0)
    theirs = image_twin(config, state).step(*images, coin)
    for term, value in theirs.items():
        alike = abs(float(terms[term]) - float(value)) <= 1e-4 * max(1.0, abs(float(value)))
        assert alike == (term not in dropped), term


def assert_same_statistics(network, batch_stats):
    """Compares running means. PyTorch defines running variances in another way."""
    from benchmarks.torch_twin import weights

    for name, ours in weights.convert(network, batch_stats, {"mean": "running_mean", "var": "running_var"}).items():
        if name.endswith("mean"):
            assert_alike(ours.numpy(), network.get_buffer(name))


def test_an_iteration_of_the_teacher():
    from benchmarks.torch_twin import training

    config = narrow("paper")
    config.teacher.total_scale = 3.0
    stage = stages.build(config, "teacher", CLASSES)
    batch, key = drawn_batch(config), jax.random.key(0)
    augment_key, _ = jax.random.split(jax.random.fold_in(key, 0))
    view = augmented(augment_key, batch, config.augment)
    x, y = to_torch(view.erased), to_torch(view.label).long()

    state = random_state(stage, {}, np.random.default_rng(0))
    twin = training.ClassifierTwin(config.teacher, CLASSES)
    twin.load(state)
    with smooth_rectifiers():
        after, metrics = compile_step(stage)(state, batch, key)
        terms = twin.step(x, y)
    assert_alike(metrics["L_id"], terms["L_id"])
    assert_same_statistics(twin.networks["E_a"], after.batch_stats["E_a"])
    assert_same_gradients(twin, after.opt_state)
