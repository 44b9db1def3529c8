"""The state of a training run, and the networks it is built from."""

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
    """Everything that a step reads or changes, and that a checkpoint contains.

    Attributes:
        step: number of iterations done, int32.
        params: parameters by network name.
        batch_stats: running statistics of the networks that have BatchNorm, by network name.
        opt_state: optimiser states by group name.
        frozen: all variables of networks that are used but not trained, by network name.
    """

    step: PyTree
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    frozen: PyTree = flax.struct.field(default_factory=dict)

    def variables(self, network: str) -> dict[str, PyTree]:
        """Returns the variables of one trained network, as `module.apply` takes them."""
        return variables(self.params, self.batch_stats, network)


def first_not_finite(tree: PyTree) -> str | None:
    """Finds the first floating-point leaf that has a NaN or an infinity. Other leaves (integers, keys) are skipped.

    The check runs on the host in 0.1 s for the full-size image stage. A compiled check takes 13 s to compile.

    Args:
        tree: NumPy or JAX arrays, on one device or replicated.

    Returns:
        The leaf's path, such as `params/E_a/trunk/conv1/kernel`, or None if all leaves are finite.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(np.asarray(leaf)).all():
            return path_name(path)
    return None


def path_name(path: tuple) -> str:
    """Joins a leaf's path with slashes."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def call(module: nn.Module, params: PyTree, *inputs: PyTree, method: str | None = None) -> Any:
    """Applies a network, or one of its methods, whose only variables are parameters."""
    return module.apply({"params": params}, *inputs, method=method)


def infer(module: nn.Module, variables: PyTree, x: Array, method: str | None = None) -> Any:
    """Applies a network, or one of its methods, as at test time: running statistics, no dropout."""
    return module.apply(variables, x, train=False, method=method)


def variables(params: dict, batch_stats: dict, network: str) -> dict[str, PyTree]:
    """Joins a network's parameters and, if it has any, its running statistics."""
    joined = {"params": params[network]}
    if network in batch_stats:
        joined["batch_stats"] = batch_stats[network]
    return joined


@dataclass(frozen=True)
class Network:
    """A module and the shapes of its inputs.

    Attributes:
        module: a linen module.
        inputs: `jax.ShapeDtypeStruct`s of its array arguments, for one image.
        options: other keyword arguments of the call, such as `train=False`.
    """

    module: nn.Module
    inputs: tuple
    options: dict[str, Any] = field(default_factory=dict)

    def init(self, key: Array) -> Any:
        """Returns newly initialised variables."""
        inputs = jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), self.inputs)
        return self.module.init(key, *inputs, **self.options)

    def shapes(self) -> tuple[PyTree, PyTree]:
        """Returns the shapes of (variables, outputs) without computing anything."""
        return jax.eval_shape(
            lambda key, *inputs: self.module.init_with_output(key, *inputs, **self.options)[::-1],
            jax.random.key(0),
            *self.inputs,
        )


def initialise(key: Array, networks: dict[str, Network]) -> tuple[dict, dict]:
    """Initialises networks and returns (params, batch_stats) by network name. Every network gets its own key.

    Each network is compiled separately, so a network shared by two stages is compiled once.
    """
    params, batch_stats = {}, {}
    for (name, network), network_key in zip(networks.items(), jax.random.split(key, len(networks)), strict=True):
        initial = jax.jit(network.init)(network_key)
        params[name] = initial["params"]
        if "batch_stats" in initial:
            batch_stats[name] = initial["batch_stats"]
    return params, batch_stats
