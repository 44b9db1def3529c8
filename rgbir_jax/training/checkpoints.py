"""Checkpoints of one stage: the newest and, if there is a validation score, the best. None contains a NaN."""

import json
import math
from operator import itemgetter
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from rgbir_jax.errors import NotFiniteError, UserError
from rgbir_jax.models.shapes import first_difference
from rgbir_jax.training.state import State, first_not_finite, path_name


class Checkpoints:
    """Saves and restores States in a folder. Saving runs in the background.

    Args:
        directory: the checkpoints' folder, created if it is missing.

    Raises:
        UserError: if a file with a validation score cannot be read; the message names the file.
    """

    def __init__(self, directory: Path):
        self.directory = Path(directory).absolute()
        score = itemgetter("score")
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(1), BestN(get_metric_fn=score, n=1)]),
            best_fn=score,  # without it scores are not written and a resumed run forgets its best checkpoint
        )
        try:
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        except ValueError:
            _check_scores(self.directory)
            raise

    def latest(self) -> int | None:
        """Returns the newest saved iteration, or None if there is none."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Returns the saved iteration with the highest validation score, or the newest if none has a score."""
        best = self._manager.best_step()
        return self.latest() if best is None else best

    def check(self, step: int, state: State) -> None:
        """Raises if the state has a NaN or an infinity. Call it before using the state for anything but training.

        Args:
            step: number of iterations done.
            state: a State, replicated as by `parallel.replicate`.

        Raises:
            NotFiniteError: if a leaf is not finite; the message names the first one and says what to do.
        """
        leaf = first_not_finite(state)
        if leaf:
            raise NotFiniteError(f"{leaf} is not finite after iteration {step}; {self.way_out()}")

    def way_out(self) -> str:
        """Returns the end of an error message: what the user can do after training has failed."""
        step = self.latest()
        if step is None:
            return "no checkpoint has been saved. Lower the learning rate or the weight of a loss in a new workdir."
        return (
            f"the last good checkpoint is of iteration {step}. The same command resumes from it; if it fails again, "
            f"lower the learning rate or the weight of a loss in a new workdir."
        )

    def save(self, step: int, state: State, score: float | None = None) -> None:
        """Saves the state after `step` iterations, unless it is already saved.

        Args:
            step: number of iterations done.
            state: a State, replicated as by `parallel.replicate`. It is copied to the host before this returns, so it
                may be donated afterwards.
            score: the validation score that decides which checkpoint is the best.

        Raises:
            NotFiniteError: as in `check`; nothing is written.
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

    def shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of all leaves of the state after `step` iterations, by path.

        Raises:
            UserError: if they cannot be read.
        """
        shapes = self._read(step, "meta", ocp.args.JsonRestore())["shapes"]
        return {name: tuple(shape) for name, shape in shapes.items()}

    def restore(self, step: int, like: State) -> State:
        """Restores the state after `step` iterations.

        Args:
            step: a saved iteration.
            like: a State of arrays or `jax.ShapeDtypeStruct`s, such as `jax.eval_shape` of a stage's init.

        Raises:
            UserError: if the checkpoint cannot be read; if names or shapes of its leaves differ from those of `like`;
                if a leaf has a NaN or an infinity. The message names the first such leaf.
        """
        if different := first_difference(self.shapes(step), _shapes(like)):
            saved, wanted = different
            raise UserError(
                f"the checkpoint {self.directory} is for another model: it has {saved}, this config makes {wanted}; "
                f"use the config it was trained with, or another workdir."
            )
        local = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=local), like)
        return self._finite(step, self._read(step, "state", ocp.args.StandardRestore(like)))

    def restore_part(self, step: int, like: PyTree) -> PyTree:
        """Restores some leaves of the state after `step` iterations, as NumPy arrays.

        Args:
            step: a saved iteration.
            like: nested dicts with the State's field names and only the wanted leaves.

        Raises:
            UserError: if the checkpoint cannot be read, or if a leaf has a NaN or an infinity; the message names the
                first such leaf.
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
        except Exception as error:  # Orbax raises no narrower class for some damaged files
            reason = f"{type(error).__name__}: {error}".split(". See full TensorStore details")[0].splitlines()[0]
            raise UserError(
                f"the checkpoint {self.directory / str(step)} cannot be read ({reason[:200]}). If it is damaged, "
                f"{self._without(step)}."
            ) from error

    def _finite(self, step: int, restored: PyTree) -> PyTree:
        leaf = first_not_finite(restored)
        if leaf:
            raise UserError(
                f"the checkpoint {self.directory / str(step)} is damaged: {leaf} is not finite; {self._without(step)}."
            )
        return restored

    def _without(self, step: int) -> str:
        """Returns what the user can do about a damaged checkpoint."""
        others = [other for other in self._manager.all_steps() if other != step]
        if others:
            return f"delete that folder to use the checkpoint of iteration {max(others)} instead"
        return f"delete {self.directory.parent} and train this stage again"

    def wait(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits until everything is on disk, then closes the folder."""
        self._manager.close()


def has_checkpoint(stage_folder: Path) -> bool:
    """Tells whether a stage has a checkpoint. Opening its folder would wait for all processes."""
    return any(path.name.isdigit() for path in (stage_folder / "checkpoints").glob("*"))


def _shapes(state: PyTree) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all leaves by path."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {path_name(path): np.shape(leaf) for path, leaf in leaves}


def _check_scores(directory: Path) -> None:
    for file in sorted(directory.glob("*/metrics/metrics")):
        try:
            json.loads(file.read_text())
        except ValueError as error:
            raise UserError(
                f"{file} is damaged ({error}); delete the file. Its checkpoint then has no validation score."
            ) from error
