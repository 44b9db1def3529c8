"""The only place that knows about devices: one program, the same on every one, each with its share of the identities.

A step body sees its own part of the batch and the axis name `AXIS`, nothing else. What it must do itself is average
gradients and metrics over `AXIS`, and key its randomness on global positions (`positions`), so that the same global
batch gives the same result on any number of devices.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

AXIS = "batch"


def local_mesh() -> Mesh:
    """All devices of this process in one row."""
    return Mesh(np.array(jax.local_devices()), (AXIS,))


def pmap(step: Callable, arguments: int = 3) -> Callable:
    """Compiles `step(state, batch, *rest)`: state and rest replicated, batch split over the devices, state donated.

    Args:
        step: takes `arguments` arguments and returns values that are equal on every device.
        arguments: how many arguments `step` takes; all but the second are replicated.
    """
    in_axes = tuple(0 if position == 1 else None for position in range(arguments))
    return jax.pmap(step, axis_name=AXIS, in_axes=in_axes, out_axes=None, donate_argnums=0)


def pmap_forward(function: Callable, arguments: int = 2) -> Callable:
    """Compiles `function(state, *inputs)` with the inputs and the result split over the devices, nothing donated.

    Args:
        function: takes `arguments` arguments; the first is replicated.
        arguments: how many arguments `function` takes.
    """
    return jax.pmap(function, axis_name=AXIS, in_axes=(None, *[0] * (arguments - 1)), out_axes=0)


def replicate(tree: PyTree) -> PyTree:
    """Puts a copy of every leaf on every local device. The leaves may be NumPy arrays or arrays of one device."""
    return jax.device_put(tree, NamedSharding(local_mesh(), PartitionSpec()))


def shard(batch: PyTree) -> PyTree:
    """Splits the leading axis over the local devices: [n, ...] becomes [devices, n / devices, ...] on the devices.

    Raises:
        ValueError: where the devices do not divide n.
    """
    devices = jax.local_device_count()

    def split(leaf):
        if len(leaf) % devices:
            raise ValueError(
                f"{len(leaf)} identities per process cannot be divided among {devices} devices; "
                f"set config.batch.identities to a multiple of all devices."
            )
        return leaf.reshape(devices, -1, *leaf.shape[1:])

    return jax.device_put(jax.tree.map(split, batch), NamedSharding(local_mesh(), PartitionSpec(AXIS)))


def round_up(n: int) -> int:
    """The smallest multiple of the number of local devices that is at least n."""
    devices = jax.local_device_count()
    return -(-n // devices) * devices


def mean(tree: PyTree) -> PyTree:
    """Averages every leaf over the devices."""
    return jax.lax.pmean(tree, AXIS)


def gather(x: Array) -> Array:
    """Joins the devices' parts of `x` along its leading axis: [n / devices, ...] becomes [n, ...] on each."""
    return jax.lax.all_gather(x, AXIS, tiled=True)


def positions(n: int) -> Int[Array, "n"]:
    """The places of this device's n rows in the global batch."""
    return first_position(n) + jnp.arange(n)


def first_position(n: int) -> Int[Array, ""]:
    """The place in the global batch of this device's first row, each device having n."""
    return jax.lax.axis_index(AXIS) * n
