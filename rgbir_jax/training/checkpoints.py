"""Checkpoints of one stage: the newest and, if there is a validation score, the best. None of them has a NaN."""

import json
import math
from operator import itemgetter
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from rgbir_jax.training.state import State, first_not_finite, path_name


class Checkpoints:
    """Saves States under a folder and finds them again. Saving goes on in the background.

    Args:
        directory: made if it is missing.

    Raises:
        ValueError: naming a file with a validation score that cannot be read.
    """

    def __init__(self, directory: Path):
        self.directory = Path(directory).absolute()
        score = itemgetter("score")
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(1), BestN(get_metric_fn=score, n=1)]),
            best_fn=score,  # without it the scores are not written, and a resumed run forgets its best
        )
        try:
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        except ValueError:
            _check_scores(self.directory)
            raise

    def latest(self) -> int | None:
        """The newest saved iteration, None before the first."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The saved iteration with the highest validation score; the newest where none was scored."""
        best = self._manager.best_step()
        return self.latest() if best is None else best

    def check(self, step: int, state: State) -> None:
        """Refuses a state that has a NaN or an infinity. Call it before the state is used for anything but training.

        Args:
            step: iterations done.
            state: as `parallel.replicate` leaves it.

        Raises:
            FloatingPointError: naming the first leaf that is not finite, and what to do.
        """
        leaf = first_not_finite(state)
        if leaf:
            raise FloatingPointError(f"{leaf} is not finite after iteration {step}; {self.way_out()}")

    def way_out(self) -> str:
        """Returns the end of a sentence: what a user can do after the training has failed."""
        step = self.latest()
        if step is None:
            return "no checkpoint has been saved. Lower the learning rate or the weight of a loss in a new workdir."
        return (
            f"the last good checkpoint is of iteration {step}. The same command resumes from it; if it fails again, "
            f"lower the learning rate or the weight of a loss in a new workdir."
        )

    def save(self, step: int, state: State, score: float | None = None) -> None:
        """Saves the state after `step` iterations, unless it is saved already.

        Args:
            step: iterations done.
            state: as `parallel.replicate` leaves it; copied to the host before this returns, so it may be donated.
            score: validation score, by which the best is kept.

        Raises:
            FloatingPointError: as `check` does; nothing is written.
        """
        if step == self.latest():
            return
        self.check(step, state)
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
        """What was noted beside the state.

        Raises:
            ValueError: if it cannot be read.
        """
        return self._read(step, "meta", ocp.args.JsonRestore())

    def restore(self, step: int, like: State) -> State:
        """The state after `step` iterations.

        Args:
            step: a saved iteration.
            like: a State of arrays or `jax.ShapeDtypeStruct`s, as `jax.eval_shape` of a stage's init gives it.

        Raises:
            ValueError: naming the first parameter that the checkpoint has and `like` has not, or in another shape; for
                a checkpoint that cannot be read; naming the first leaf that has a NaN or an infinity.
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
        return self._finite(step, self._read(step, "state", ocp.args.StandardRestore(like)))

    def restore_part(self, step: int, like: PyTree) -> PyTree:
        """Some leaves of the state after `step` iterations, as NumPy arrays.

        Args:
            step: a saved iteration.
            like: nested dicts by the State's field names, with the wanted leaves alone.

        Raises:
            ValueError: for a checkpoint that cannot be read; naming the first leaf that has a NaN or an infinity.
        """
        args = ocp.args.PyTreeRestore(
            like,
            restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like),
            partial_restore=True,
        )
        return self._finite(step, self._read(step, "state", args))

    def _read(self, step: int, item: str, args: ocp.args.CheckpointArgs):
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**{item: args}))[item]
        except Exception as error:  # for some damaged files Orbax raises no narrower class
            reason = f"{type(error).__name__}: {error}".split(". See full TensorStore details")[0].splitlines()[0]
            raise ValueError(
                f"the checkpoint {self.directory / str(step)} cannot be read ({reason[:200]}). If it is damaged, "
                f"{self._without(step)}."
            ) from error

    def _finite(self, step: int, restored: PyTree) -> PyTree:
        leaf = first_not_finite(restored)
        if leaf:
            raise ValueError(
                f"the checkpoint {self.directory / str(step)} is damaged: {leaf} is not finite; {self._without(step)}."
            )
        return restored

    def _without(self, step: int) -> str:
        """Says what to do about a damaged checkpoint."""
        others = [other for other in self._manager.all_steps() if other != step]
        if others:
            return f"delete that folder to use the checkpoint of iteration {max(others)} instead"
        return f"delete {self.directory.parent} and train this stage again"

    def wait(self) -> None:
        """Returns when everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then lets go of the folder."""
        self._manager.close()


def _shapes(state: PyTree) -> dict[str, list[int]]:
    """Shapes of all leaves by path."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {path_name(path): list(np.shape(leaf)) for path, leaf in leaves}


def _check_scores(directory: Path) -> None:
    for file in sorted(directory.glob("*/metrics/metrics")):
        try:
            json.loads(file.read_text())
        except ValueError as error:
            raise ValueError(
                f"{file} is damaged ({error}); delete the file. Its checkpoint then has no validation score."
            ) from error


def _say(shapes: dict[str, list[int]], name: str) -> str:
    return f"{name} of shape {tuple(shapes[name])}" if name in shapes else f"no {name}"
