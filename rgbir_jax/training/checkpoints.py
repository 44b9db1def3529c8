"""Checkpoints of one stage: the newest and, where there is a validation score, the best."""

import math
from operator import itemgetter
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from rgbir_jax.training.state import State


class Checkpoints:
    """Saves States under a folder and finds them again. Saving goes on in the background.

    Args:
        directory: made if it is missing.
    """

    def __init__(self, directory: Path):
        self.directory = Path(directory).absolute()
        score = itemgetter("score")
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy([LatestN(1), BestN(get_metric_fn=score, n=1)]),
                best_fn=score,  # without it the scores are not written, and a run that goes on forgets its best
            ),
        )

    def latest(self) -> int | None:
        """The newest saved iteration, None before the first."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The saved iteration with the highest validation score; the newest where none was scored."""
        return self._manager.best_step()

    def save(self, step: int, state: State, score: float | None = None) -> None:
        """Saves the state after `step` iterations.

        Args:
            step: iterations done.
            state: as `parallel.replicate` leaves it; copied to the host before this returns, so it may be donated.
            score: validation score, by which the best is kept.
        """
        if step == self.latest():
            return
        if jax.process_count() > 1:
            state = jax.tree.map(ocp.utils.fully_replicated_host_local_array_to_global_array, state)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave({"shapes": _shapes(state)})
            ),
            metrics={"score": -math.inf if score is None else score},
        )

    def meta(self, step: int) -> dict:
        """What was noted beside the state."""
        return self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]

    def restore(self, step: int, like: State) -> State:
        """The state after `step` iterations.

        Args:
            step: a saved iteration.
            like: a State of arrays or `jax.ShapeDtypeStruct`s, as `jax.eval_shape` of a stage's init gives it.

        Raises:
            ValueError: naming the first parameter that the checkpoint has and `like` has not, or in another shape.
        """
        saved, wanted = self.meta(step)["shapes"], _shapes(like)
        for name in sorted(saved.keys() | wanted.keys()):
            if saved.get(name) != wanted.get(name):
                raise ValueError(
                    f"the checkpoint {self.directory} is of another model: it has {_say(saved, name)}, this config "
                    f"makes {_say(wanted, name)}; take the config that it was trained with or another workdir."
                )
        local = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=local), like)
        return self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like)))["state"]

    def restore_part(self, step: int, like: PyTree) -> PyTree:
        """Some leaves of the state after `step` iterations, as NumPy arrays.

        Args:
            step: a saved iteration.
            like: nested dicts by the State's field names, with the wanted leaves alone.
        """
        args = ocp.args.PyTreeRestore(
            like,
            restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like),
            partial_restore=True,
        )
        return self._manager.restore(step, args=ocp.args.Composite(state=args))["state"]

    def wait(self) -> None:
        """Returns when everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then lets go of the folder."""
        self._manager.close()


def _shapes(state: PyTree) -> dict[str, list[int]]:
    """Shapes of all leaves by path."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): list(np.shape(leaf)) for path, leaf in leaves}


def _say(shapes: dict[str, list[int]], name: str) -> str:
    return f"{name} of shape {tuple(shapes[name])}" if name in shapes else f"no {name}"
