"""Training with several processes: how they connect, agree and share work.

All processes run the same command and take every step together, each on its own devices. They share the run's folder,
and only the first writes to it. With one process every function here costs nothing.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jaxtyping import Shaped

from rgbir_jax.errors import UserError, of_machine
from rgbir_jax.training.interrupt import Interrupted

T = TypeVar("T")
DAY_MS = 24 * 60 * 60 * 1000
FAREWELL_S = 3  # seconds that the first process waits before it exits after an error


@contextmanager
def joined(coordinator: str | None = None, count: int | None = None, index: int | None = None) -> Iterator[None]:
    """Connects this process to the others of the run. Call it before anything is computed.

    Args:
        coordinator: HOST:PORT of the first process. Under SLURM, Open MPI, Kubernetes and on TPUs, JAX detects
            every argument that is None.
        count: number of processes of the run.
        index: index of this process, from 0.

    Raises:
        UserError: if an argument is neither given nor detected, or if the other processes cannot be reached.
    """
    _check_place(coordinator, count, index)
    try:
        jax.distributed.initialize(coordinator, count, index)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the processes of this run cannot find each other: {error} "
            f"Pass --coordinator=HOST:PORT, --process_count and --process_index."
        ) from error
    try:
        yield
    except (Interrupted, FloatingPointError):
        raise  # raised in all processes at the same iteration
    except Exception as error:
        error = of_machine(error) or error
        # The others wait for steps that this process will not take, so it must not wait for them at exit.
        if isinstance(error, ValueError | OSError | ImportError):
            print(f"process {jax.process_index()}: {error}", file=sys.stderr)
        else:
            traceback.print_exc()
        sys.stderr.flush()
        if is_first():
            # It hosts the coordinator. If that disappears, JAX ends the others before they print their own errors.
            time.sleep(FAREWELL_S)
        os._exit(1)


def _check_place(coordinator: str | None, count: int | None, index: int | None) -> None:
    """Refuses arguments of `joined` that JAX would end the process for, or wait minutes with."""
    _, _, port = (coordinator or ":1").rpartition(":")
    if not (port.isdecimal() and 0 < int(port) < 2**16) or (coordinator or "").startswith(":"):
        raise UserError(f"--coordinator {coordinator} is not HOST:PORT of the first process; 10.0.0.1:1234 is one.")
    if count is not None and count < 1:
        raise UserError(f"--process_count is {count}; it must be at least 1.")
    if index is not None and not 0 <= index < (count or index + 1):
        among = "" if count is None else f" and below --process_count {count}"
        raise UserError(f"--process_index is {index}; it must be at least 0{among}.")


def is_first() -> bool:
    """Returns whether this is the first process, the one that writes and prints."""
    return jax.process_index() == 0


def say(sentence: str) -> None:
    """Prints the sentence once, not once per process."""
    if is_first():
        print(sentence)


def first_then_others(function: Callable[[], T]) -> T:
    """Calls `function` in the first process, then in the others, which can use what it left on a shared disk."""
    # Not a barrier of the devices: it would time out before a dataset is prepared.
    wait = ocp.multihost.get_barrier_sync_fn()
    if not is_first():
        wait(key="the first is done", timeout_ms=DAY_MS)
    try:
        return function()
    finally:
        if is_first():
            wait(key="the first is done", timeout_ms=DAY_MS)


def any_of(flag: bool) -> bool:
    """Returns whether the flag is set in any process. Every process must call it."""
    return flag if jax.process_count() == 1 else bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def share(rows: Shaped[np.ndarray, "n *rest"]) -> Shaped[np.ndarray, "part *rest"]:
    """Returns this process's part of the rows. Rows are repeated at the end to make all parts equally long."""
    count = jax.process_count()
    padded = np.resize(rows, (-(-len(rows) // count) * count, *rows.shape[1:]))
    return np.split(padded, count)[jax.process_index()]


def united(part: Shaped[np.ndarray, "part *rest"], n: int) -> Shaped[np.ndarray, "n *rest"]:
    """Joins the parts of all processes (see `share`) into the n rows."""
    return part[:n] if jax.process_count() == 1 else np.asarray(multihost_utils.process_allgather(part, tiled=True))[:n]
