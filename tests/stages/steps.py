"""What tests of a stage's iteration share."""

from contextlib import ExitStack
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Var

from rgbir_jax import stages
from rgbir_jax.training import parallel
from tests.models.drawn import draw_leaves
from tests.tiny import drawn_batch

CLASSES = 4
KEY = jax.random.key(0)


def drawn_state(stage, previous=None):
    """Initialises a stage with random weights from NumPy: no initialiser is compiled, and no bias is 0."""

    def draw(key, networks):
        del key
        shapes = {name: network.shapes()[0] for name, network in networks.items()}
        generator = np.random.default_rng(len(networks))
        return tuple(
            draw_leaves({name: kinds[kind] for name, kinds in shapes.items() if kind in kinds}, generator)
            for kind in ("params", "batch_stats")
        )

    with ExitStack() as patched:
        for module in ("rgbir_jax.training.stage", "rgbir_jax.stages.cmpig_generation"):
            patched.enter_context(mock.patch(f"{module}.initialise", draw))
        return stage.init(KEY, previous or {})


def on_devices(function):
    """Compiles a function of (state, batch, key) for batches [device, ...]. It returns one result per device."""
    return jax.jit(jax.vmap(function, (None, 0, None), axis_name=parallel.AXIS))


def split(batch, devices: int):
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def first(tree):
    return jax.tree.map(lambda x: x[0], tree)


def reached(terms, params, *arguments) -> dict[str, set[str]]:
    """Finds the networks that each term has a gradient in, by term, from the traced program: nothing is computed.

    Args:
        terms: (params, *arguments) -> dict of scalars, in the axis of the devices.
        params: parameters by network name.
        arguments: arrays.
    """
    one_device = jax.vmap(terms, axis_name=parallel.AXIS)
    traced, shapes = jax.make_jaxpr(one_device, return_shape=True)(
        *jax.tree.map(lambda x: np.asarray(x)[None], (params, *arguments))
    )
    networks = [path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    of: dict = {variable: {network} for network, variable in zip(networks, traced.jaxpr.invars, strict=False)}
    for equation in traced.jaxpr.eqns:
        if equation.primitive.name == "stop_gradient":
            continue
        inputs = [variable for variable in equation.invars if isinstance(variable, Var)]
        differentiable = [variable for variable in equation.outvars if jnp.issubdtype(variable.aval.dtype, jnp.inexact)]
        found = set().union(*(of.get(variable, set()) for variable in inputs))
        of |= dict.fromkeys(differentiable, found)
    names = [path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
    return {name: of.get(variable, set()) for name, variable in zip(names, traced.jaxpr.outvars, strict=True)}


def overfitted(config, name: str, steps: int, previous=None):
    """Trains a stage on one batch, not augmented, by Adam. Returns the metrics of the first and last iteration."""
    config.augment.update({"pad": 0, "erase": config.augment.erase.to_dict() | {"probability": 0.0}})
    config[name].decay.at = ()
    for group in config[name].optimizers.values():
        group.update({"kind": "adam", "learning_rate": 1e-2, "b1": 0.9, "b2": 0.999, "l2": 0.0})
    stage = stages.build(config, name, CLASSES)
    state = parallel.replicate(jax.device_get(jax.jit(stage.init)(KEY, previous or {})))
    step, batch = parallel.pmap(stage.train_step), parallel.shard(jax.device_get(drawn_batch(config)))
    history = []
    for _ in range(steps):
        state, metrics = step(state, batch, KEY)
        history.append(jax.device_get(metrics))
    return history[0], history[-1]


def full_size(config, name: str, previous=None):
    """Makes the shapes of a full-size stage for 395 identities.

    Returns:
        (stage, shapes of its State, numbers of parameters by network, shape of the features of five images).
    """
    stage = stages.build(config, name, 395)
    state = jax.eval_shape(stage.init, KEY, previous or {})
    sizes = {network: sum(leaf.size for leaf in jax.tree.leaves(tree)) for network, tree in state.params.items()}
    images = jax.ShapeDtypeStruct((5, *config.image_size, 3), jnp.float32)
    features = jax.eval_shape(stage.features, state, images, jax.ShapeDtypeStruct((5,), jnp.int32))
    return stage, state, sizes, features


def check_lowers(config, name: str, previous=None) -> None:
    """Checks that the pmapped iteration of a full-size stage lowers, and keeps the shapes of its State."""
    assert config.dtype == "bfloat16"
    stage, state, *_ = full_size(config, name, previous)
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), jax.eval_shape(lambda: drawn_batch(config))
    )
    lowered = parallel.pmap(stage.train_step).lower(state, batch, KEY)
    assert "bf16" in lowered.as_text()
    after, metrics = lowered.out_info
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert all(value.shape == () and value.dtype == jnp.float32 for value in metrics.values())
