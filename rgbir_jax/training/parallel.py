"""The only module that knows about devices. Every device runs the same program on its share of the identities.

A step body sees only its part of the batch and the axis name `AXIS`. It must average gradients and metrics over `AXIS`
and key its random numbers on global positions (`positions`). Then the same global batch gives the same result on any
number of devices.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

from rgbir_jax.errors import UserError

AXIS = "batch"


def local_mesh() -> Mesh:
    """Returns a one-dimensional mesh of all devices of this process."""
    return Mesh(np.array(jax.local_devices()), (AXIS,))


def pmap(step: Callable, arguments: int = 3) -> Callable:
    """Compiles `step(state, batch, *rest)`: splits the batch over the devices, replicates the rest, donates the state.

    Args:
        step: function of `arguments` arguments that returns values equal on every device.
        arguments: number of arguments of `step`; all but the second are replicated.
    """
    in_axes = tuple(0 if position == 1 else None for position in range(arguments))
    return jax.pmap(step, axis_name=AXIS, in_axes=in_axes, out_axes=None, donate_argnums=0)


def pmap_forward(function: Callable, arguments: int = 2) -> Callable:
    """Compiles `function(state, *inputs)`: inputs and result are split over the devices, nothing is donated.

    Args:
        function: function of `arguments` arguments; the first is replicated.
        arguments: number of arguments of `function`.
    """
    return jax.pmap(function, axis_name=AXIS, in_axes=(None, *[0] * (arguments - 1)), out_axes=0)


def replicate(tree: PyTree) -> PyTree:
    """Puts a copy of every leaf on every local device. Leaves may be NumPy arrays or single-device arrays."""
    return jax.device_put(tree, NamedSharding(local_mesh(), PartitionSpec()))


def shard(batch: PyTree) -> PyTree:
    """Splits the leading axis over the local devices: [n, ...] becomes [devices, n / devices, ...].

    Raises:
        UserError: if n is not a multiple of the number of devices.
    """
    devices = jax.local_device_count()

    def split(leaf):
        if len(leaf) % devices:
            raise UserError(
                f"{len(leaf)} identities per process cannot be divided among {devices} devices; "
                f"set config.batch.identities to a multiple of the number of all devices."
            )
        return leaf.reshape(devices, -1, *leaf.shape[1:])

    return jax.device_put(jax.tree.map(split, batch), NamedSharding(local_mesh(), PartitionSpec(AXIS)))


def check_batch(identities: int, parts: int) -> None:
    """Refuses a global batch that cannot be divided among all devices of all processes, and there into parts.

    Args:
        identities: `config.batch.identities`.
        parts: `config.batch.parts`.

    Raises:
        UserError: if it cannot.
    """
    devices = jax.device_count()
    if identities % (devices * parts):
        among = f"{devices} devices" if devices > 1 else "one device"
        raise UserError(
            f"a batch of {identities} identities cannot be divided among {among} in {parts} parts each; set "
            f"config.batch.identities to a multiple of {devices * parts}, or config.batch.parts to a smaller number."
        )


def check_divisible(count: int, key: str) -> None:
    """Refuses a number of identities that all devices of all processes cannot share equally.

    Args:
        count: the number.
        key: its config key.

    Raises:
        UserError: if they cannot.
    """
    if count % (devices := jax.device_count()):
        raise UserError(f"{key} is {count}, which {devices} devices cannot divide; set it to a multiple of {devices}.")


def round_up(n: int) -> int:
    """Rounds n up to a multiple of the number of local devices."""
    devices = jax.local_device_count()
    return -(-n // devices) * devices


def mean(tree: PyTree) -> PyTree:
    """Averages every leaf over the devices."""
    return jax.lax.pmean(tree, AXIS)


def gather(x: Array) -> Array:
    """Joins the devices' parts of `x` along its leading axis: [n / devices, ...] becomes [n, ...] on every device."""
    return jax.lax.all_gather(x, AXIS, tiled=True)


def positions(n: int) -> Int[Array, "n"]:
    """Returns the positions of this device's n rows in the global batch."""
    return first_position(n) + jnp.arange(n)


def first_position(n: int) -> Int[Array, ""]:
    """Returns the position of this device's first row in the global batch, if each device has n rows."""
    return jax.lax.axis_index(AXIS) * n
