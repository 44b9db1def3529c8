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
        for module in ("rgbir_jax.training.stage",):
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
    """Finds the networks that each term has a gradient in, by term.

    Nothing is computed: the gradient of what a term does not reach is a constant in the traced program.

    Args:
        terms: (params, *arguments) -> dict of scalars, in the axis of the devices.
        params: parameters by network name.
        arguments: arrays or their shapes.
    """
    shapes = jax.eval_shape(lambda *inputs: inputs, params, *arguments)
    found = {}
    for term in jax.eval_shape(_in_axis(terms), *shapes):
        gradient = jax.grad(lambda params, *rest, term=term: _in_axis(terms)(params, *rest)[term])
        traced = jax.make_jaxpr(gradient)(*shapes).jaxpr
        varies = set(traced.invars)
        for equation in traced.eqns:
            if varies & {variable for variable in equation.invars if isinstance(variable, Var)}:
                varies.update(equation.outvars)
        paths = [path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        leaves = zip(paths, traced.outvars, strict=True)
        found[term] = {path for path, leaf in leaves if isinstance(leaf, Var) and leaf in varies}
    return found


def _in_axis(terms):
    """Calls a function in an axis of one device, without an axis in its arguments."""

    def call(*arguments):
        add = lambda x: x[None]
        mapped = jax.vmap(terms, axis_name=parallel.AXIS)(*jax.tree.map(add, arguments))
        return jax.tree.map(lambda x: x[0], mapped)

    return call


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
    """Checks the shapes of a full-size iteration, of which nothing is computed.

    Returns:
        The shapes of the State after it, and those of the features of five images.
    """
    stage = stages.build(config, name, 395)
    state = jax.eval_shape(stage.init, KEY, previous or {})
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), jax.eval_shape(lambda: drawn_batch(config))
    )
    after, metrics = jax.eval_shape(parallel.pmap(stage.train_step), state, batch, KEY)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert all(value.shape == () and value.dtype == jnp.float32 for value in metrics.values())
    images = jax.ShapeDtypeStruct((5, *config.image_size, 3), jnp.float32)
    return after, jax.eval_shape(stage.features, after, images, jax.ShapeDtypeStruct((5,), jnp.int32))
