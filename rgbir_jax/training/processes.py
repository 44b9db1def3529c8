"""Several processes, one program: how they find each other, what they agree on, and what the first alone does.

All of them run the same command and take every step together, each on its own devices. They share the run's folder;
the first writes into it. With one process every function here costs nothing.
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

from rgbir_jax.training.interrupt import Interrupted

T = TypeVar("T")
DAY_MS = 24 * 60 * 60 * 1000
FAREWELL_S = 3  # that the first process stays after an error


@contextmanager
def joined(coordinator: str | None = None, count: int | None = None, index: int | None = None) -> Iterator[None]:
    """Connects this process with the others of the run; nothing may be computed before.

    Args:
        coordinator: HOST:PORT of the first process. Under SLURM, Open MPI, Kubernetes and on TPUs this and the other
            two are found out where they are None.
        count: processes of the run.
        index: of this one, from 0.

    Raises:
        ValueError: where something is neither given nor found out, or the others are not there.
    """
    try:
        jax.distributed.initialize(coordinator, count, index)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"the processes of this run do not find each other: {error} "
            f"Give --coordinator=HOST:PORT, --process_count and --process_index."
        ) from error
    try:
        yield
    except (Interrupted, FloatingPointError):
        raise  # in all processes at the same iteration
    except Exception as error:
        # The others wait for steps that this process will not take; it must not wait for them at its exit.
        if isinstance(error, ValueError | OSError | ImportError):
            print(f"process {jax.process_index()}: {error}", file=sys.stderr)
        else:
            traceback.print_exc()
        sys.stderr.flush()
        if is_first():
            # It hosts the coordinator: if that disappears, JAX ends the others before they print an error of their own.
            time.sleep(FAREWELL_S)
        os._exit(1)


def is_first() -> bool:
    """Whether this process writes and speaks."""
    return jax.process_index() == 0


def say(sentence: str) -> None:
    """Prints it once, not once a process."""
    if is_first():
        print(sentence)


def first_then_others(function: Callable[[], T]) -> T:
    """Calls `function` in the first process, then in the others, which find what it has left on a shared disk."""
    # Not a barrier of the devices, which would give up before a dataset is prepared.
    wait = ocp.multihost.get_barrier_sync_fn()
    if not is_first():
        wait(key="the first is done", timeout_ms=DAY_MS)
    try:
        return function()
    finally:
        if is_first():
            wait(key="the first is done", timeout_ms=DAY_MS)


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process. All must ask."""
    return flag if jax.process_count() == 1 else bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def share(rows: Shaped[np.ndarray, "n *rest"]) -> Shaped[np.ndarray, "part *rest"]:
    """The part of the rows that is this process's; all parts are equally long, the last ones by repeating rows."""
    count = jax.process_count()
    padded = np.resize(rows, (-(-len(rows) // count) * count, *rows.shape[1:]))
    return np.split(padded, count)[jax.process_index()]


def united(part: Shaped[np.ndarray, "part *rest"], n: int) -> Shaped[np.ndarray, "n *rest"]:
    """The n rows of which every process has its `share`."""
    return part[:n] if jax.process_count() == 1 else np.asarray(multihost_utils.process_allgather(part, tiled=True))[:n]
