"""What a training run is at one moment."""

from dataclasses import dataclass, field
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, PyTree


@flax.struct.dataclass
class State:
    """Everything that a step changes or reads; the whole content of a checkpoint.

    Attributes:
        step: iterations done, int32.
        params: parameters by network name.
        batch_stats: running statistics of the networks that have BatchNorm, by network name.
        opt_state: optimiser states by group name.
        frozen: complete variables of networks that are used and not trained, by network name.
    """

    step: PyTree
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    frozen: PyTree = flax.struct.field(default_factory=dict)

    def variables(self, network: str) -> dict[str, PyTree]:
        """The variables of one trained network, as `module.apply` takes them."""
        return variables(self.params, self.batch_stats, network)


def first_not_finite(tree: PyTree) -> str | None:
    """Finds the first floating-point leaf that has a NaN or an infinity; other leaves (integers, keys) are skipped.

    The check runs on the host: for the full-size image stage a compiled one takes 13 s to compile, and this one 0.1 s.

    Args:
        tree: NumPy arrays or JAX arrays, of one device or replicated.

    Returns:
        The leaf's path, such as `params/E_a/trunk/conv1/kernel`, or None.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(np.asarray(leaf)).all():
            return path_name(path)
    return None


def path_name(path: tuple) -> str:
    """Joins a leaf's path with slashes."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def call(module: nn.Module, params: PyTree, *inputs: PyTree) -> Any:
    """The output of a network that has parameters and nothing else."""
    return module.apply({"params": params}, *inputs)


def variables(params: dict, batch_stats: dict, network: str) -> dict[str, PyTree]:
    """Joins a network's parameters and, where it has any, its running statistics."""
    joined = {"params": params[network]}
    if network in batch_stats:
        joined["batch_stats"] = batch_stats[network]
    return joined


@dataclass(frozen=True)
class Network:
    """A module with the shapes that it is called on.

    Attributes:
        module: a linen module.
        inputs: `jax.ShapeDtypeStruct`s of its array arguments, for one image.
        options: further keyword arguments of the call (`train=False`).
    """

    module: nn.Module
    inputs: tuple
    options: dict[str, Any] = field(default_factory=dict)

    def init(self, key: Array) -> Any:
        """Fresh variables."""
        inputs = jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), self.inputs)
        return self.module.init(key, *inputs, **self.options)

    def shapes(self) -> tuple[PyTree, PyTree]:
        """(variables, outputs) as shapes, without computing anything."""
        return jax.eval_shape(
            lambda key, *inputs: self.module.init_with_output(key, *inputs, **self.options)[::-1],
            jax.random.key(0),
            *self.inputs,
        )


def initialise(key: Array, networks: dict[str, Network]) -> tuple[dict, dict]:
    """(params, batch_stats) by network name; every network from a key of its own.

    Each is compiled by itself, so that a network which two stages share is compiled once.
    """
    params, batch_stats = {}, {}
    for (name, network), network_key in zip(networks.items(), jax.random.split(key, len(networks)), strict=True):
        fresh = jax.jit(network.init)(network_key)
        params[name] = fresh["params"]
        if "batch_stats" in fresh:
            batch_stats[name] = fresh["batch_stats"]
    return params, batch_stats
