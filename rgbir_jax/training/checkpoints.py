"""Checkpoints of one stage: the two newest and, if there is a validation score, the best. None contains a NaN.

Every leaf has a checksum, so that a checkpoint that has changed on disk is noticed; the next one takes its place. A
checkpoint also keeps what the stage was trained from, as its caller describes it.
"""

import json
import math
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from rgbir_jax.errors import NotFiniteError, UserError
from rgbir_jax.files import not_written, writing
from rgbir_jax.models.shapes import first_difference
from rgbir_jax.training import processes
from rgbir_jax.training.state import State, first_not_finite, path_name

T = TypeVar("T")


class DamagedError(UserError):
    """A checkpoint that is not as it was written.

    Attributes:
        reason: what is wrong with it.
    """

    def __init__(self, folder: Path, reason: str):
        super().__init__(f"the checkpoint {folder} is damaged: {reason}.")
        self.reason = reason


class Checkpoints:
    """Saves and restores States in a folder. Saving runs in the background; reading writes nothing.

    Args:
        directory: the checkpoints' folder, created when something is saved.
        origin: what the stage is trained from, saved with each checkpoint: values that JSON can hold, by name.
    """

    def __init__(self, directory: Path, origin: dict | None = None):
        self.directory = Path(directory).absolute()
        self._origin = json.loads(json.dumps(origin or {}))  # as it is read again
        self._manager: ocp.CheckpointManager | None = None
        self._scores = self._read_scores()

    def newest_first(self) -> list[int]:
        """Returns the saved iterations from the last to the first."""
        return sorted(self._scores, reverse=True)

    def best_first(self) -> list[int]:
        """Returns the saved iterations by validation score; of equal scores, and without scores, the newest first."""
        return sorted(self._scores, key=lambda step: (self._scores[step], step), reverse=True)

    def latest(self) -> int | None:
        """Returns the newest saved iteration, or None if there is none."""
        return max(self._scores, default=None)

    def best(self) -> int | None:
        """Returns the saved iteration with the highest validation score, or the newest if none has a score."""
        return next(iter(self.best_first()), None)

    def is_scored(self, step: int) -> bool:
        """Tells whether a saved iteration has a validation score."""
        return self._scores.get(step, -math.inf) > -math.inf

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
        step, rate = self.latest(), f"--config.{self.directory.parent.name}.optimizers.GROUP.learning_rate"
        if step is None:
            return f"no checkpoint has been saved: the same command with a lower {rate} starts this stage again."
        return (
            f"the last good checkpoint is of iteration {step}: the same command with a lower {rate} trains on from it."
        )

    def leave_out(self, step: int) -> None:
        """Renames a checkpoint to N.damaged, so that it is no longer used. Every process must call it.

        Raises:
            UserError: if it cannot be renamed, or if an earlier one cannot be written.
        """
        self.wait()
        if processes.is_first():
            self._set_aside(step)
        processes.any_of(False)  # the others wait
        self._scores = self._read_scores()

    def _set_aside(self, step: int) -> None:
        with writing(self.directory):
            aside = self._folder(step).with_suffix(".damaged")
            shutil.rmtree(aside, ignore_errors=True)
            self._folder(step).rename(aside)

    def open(self, start: int = 0) -> None:
        """Prepares to save what comes after iteration `start`. Every process must call it.

        Checkpoints that cannot be used, and those of later iterations, are renamed to N.damaged.

        Raises:
            UserError: if the folder cannot be written.
        """
        if processes.is_first():
            with writing(self.directory):
                self.directory.mkdir(parents=True, exist_ok=True)
                for step in self._steps_on_disk():
                    if step > start or self._score(step) is None:
                        self._set_aside(step)
        processes.any_of(False)  # the others wait
        self._scores = self._read_scores()
        score = itemgetter("score")
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(2), BestN(get_metric_fn=score, n=1)]),
            best_fn=score,  # without it scores are not written and a resumed run forgets its best checkpoint
            cleanup_tmp_directories=True,  # of a run that was killed while it saved
            # Otherwise threads wait for a folder that cannot be made, and the program does not end.
            async_options=ocp.options.AsyncOptions(create_directories_asynchronously=False),
        )
        self._manager = self._written(lambda: ocp.CheckpointManager(self.directory, options=options))

    def save(self, step: int, state: State, score: float | None = None) -> None:
        """Saves the state after `step` iterations, unless it is already saved.

        Args:
            step: number of iterations done.
            state: a State, replicated as by `parallel.replicate`. It is copied to the host before this returns, so it
                may be donated afterwards.
            score: the validation score that decides which checkpoint is the best.

        Raises:
            NotFiniteError: as in `check`; nothing is written.
            UserError: if this checkpoint or the one before cannot be written.
        """
        if step == self.latest():
            return
        self.check(step, state)
        if not self._manager:
            self.open(self.latest() or 0)
        score = -math.inf if score is None else float(score)
        meta = {"shapes": _shapes(state), "checksums": _checksums(state), "origin": self._origin}
        meta["checksum"] = _checksum_of_meta(meta, score)
        if jax.process_count() > 1:
            state = jax.tree.map(ocp.utils.fully_replicated_host_local_array_to_global_array, state)
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
        self._written(lambda: self._manager and self._manager.save(step, args=args, metrics={"score": score}))
        self._scores[step] = score

    def shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of all leaves of the state after `step` iterations, by path.

        Raises:
            DamagedError: if they cannot be read.
        """
        meta, _ = self._read_meta(step)
        return {name: tuple(shape) for name, shape in meta["shapes"].items()}

    def origin(self) -> dict:
        """Returns what the newest readable checkpoint keeps as `origin`; empty if there is none (older versions)."""
        for step in self.newest_first():
            with suppress(DamagedError):
                return self._read_meta(step)[0].get("origin", {})
        return {}

    def check_shapes(self, step: int, like: State) -> None:
        """Refuses a checkpoint of another model; see `restore`."""
        if different := first_difference(self.shapes(step), _shapes(like)):
            saved, wanted = different
            raise UserError(
                f"the checkpoint {self.directory} is for another model: it has {saved}, this config makes {wanted}; "
                f"use the config it was trained with, or another workdir."
            )

    def restore(self, step: int, like: State) -> State:
        """Restores the state after `step` iterations.

        Args:
            step: a saved iteration.
            like: a State of arrays or `jax.ShapeDtypeStruct`s, such as `jax.eval_shape` of a stage's init.

        Raises:
            DamagedError: if the checkpoint cannot be read or has changed on disk, or if a leaf has a NaN or an
                infinity. The message names the first such leaf.
            UserError: if names or shapes of its leaves differ from those of `like`.
        """
        self.check_shapes(step, like)
        local = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=local), like)
        return self._restore(step, ocp.StandardCheckpointHandler(), ocp.args.StandardRestore(like))

    def restore_part(self, step: int, like: PyTree) -> PyTree:
        """Restores some leaves of the state after `step` iterations, as NumPy arrays.

        Args:
            step: a saved iteration.
            like: nested dicts with the State's field names and only the wanted leaves.

        Raises:
            DamagedError: if the checkpoint cannot be read or has changed on disk, or if a leaf has a NaN or an
                infinity; the message names the first such leaf.
        """
        args = ocp.args.PyTreeRestore(
            like,
            restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like),
            partial_restore=True,
        )
        return self._restore(step, ocp.PyTreeCheckpointHandler(), args)

    def first_intact(self, steps: list[int], read: Callable[[int], T]) -> tuple[int, T]:
        """Reads the first checkpoint that is not damaged, and prints which ones are.

        Args:
            steps: saved iterations, the wanted one first.
            read: reads one of them, such as `restore`.

        Returns:
            The iteration and what `read` returned for it.

        Raises:
            UserError: if all of them are damaged.
        """
        damaged: dict[int, DamagedError] = {}
        for step in steps:
            try:
                result = read(step)
            except DamagedError as error:
                damaged[step] = error
                continue
            for error in damaged.values():
                processes.say(f"{str(error).removesuffix('.')}; that of iteration {step} is used instead.")
            return step, result
        first = next(iter(damaged.values()))
        raise UserError(
            f"{str(first).removesuffix('.')}; delete {self.directory.parent} and train this stage again."
        ) from first

    def wait(self) -> None:
        """Waits until everything is on disk.

        Raises:
            UserError: if the last checkpoint cannot be written.
        """
        if self._manager:
            self._written(self._manager.wait_until_finished)

    def close(self) -> None:
        """Waits until everything is on disk, then closes the folder.

        Raises:
            UserError: if the last checkpoint cannot be written.
        """
        if self._manager:
            self._written(self._manager.close)
            self._manager = None

    def _written(self, write: Callable[[], T]) -> T:
        """Calls a function that writes."""
        try:
            return write()
        except Exception as error:  # TensorStore raises ValueError for a full disk
            self._manager = None
            self._scores = self._read_scores()
            step = self.latest()
            way_out = f"from iteration {step}" if step else "from the start, for nothing has been saved"
            raise not_written(
                self.directory,
                error,
                f"make room on its disk, or allow writing there: the same command then resumes {way_out}.",
            ) from error

    def _folder(self, step: int) -> Path:
        return self.directory / str(step)

    def _steps_on_disk(self) -> list[int]:
        return [int(path.name) for path in self.directory.glob("*") if path.name.isdigit()]

    def _read_scores(self) -> dict[int, float]:
        """Returns the validation score of each checkpoint, −∞ for one without or with a score that cannot be read."""
        scores = {step: self._score(step) for step in self._steps_on_disk()}
        return {step: -math.inf if score is None else score for step, score in scores.items()}

    def _score(self, step: int) -> float | None:
        try:
            return self._read_meta(step)[1]
        except DamagedError:
            return None

    def _read_meta(self, step: int) -> tuple[dict, float]:
        """Returns what is saved with the state after `step` iterations: (shapes, checksums, origin; score)."""
        folder = self._folder(step)
        try:
            meta = json.loads((folder / "meta" / "metadata").read_text())
            score = float(json.loads((folder / "metrics" / "metrics").read_text())["score"])
            intact = meta["shapes"] and meta.get("checksum") in (None, _checksum_of_meta(meta, score))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedError(folder, f"meta or metrics cannot be read ({_first_line(error)})") from error
        if not intact:
            raise DamagedError(folder, "meta or metrics have changed on disk")
        return meta, score

    def _restore(self, step: int, handler: Any, args: ocp.args.CheckpointArgs) -> PyTree:
        meta, _ = self._read_meta(step)
        folder = self._folder(step)
        try:
            restored = handler.restore(folder / "state", args=args)
        except Exception as error:  # Orbax raises no narrower class for some damaged files
            raise DamagedError(folder, f"state cannot be read ({_first_line(error)})") from error
        for leaf, checksum in _checksums(restored).items():  # older versions saved none
            if meta.get("checksums", {}).get(leaf, checksum) != checksum:
                raise DamagedError(folder, f"{leaf} has changed on disk")
        if leaf := first_not_finite(restored):
            raise DamagedError(folder, f"{leaf} is not finite")
        return restored


def has_checkpoint(stage_folder: Path) -> bool:
    """Tells whether a stage has a checkpoint."""
    return any(path.name.isdigit() for path in (stage_folder / "checkpoints").glob("*"))


def _shapes(state: PyTree) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all leaves by path."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {path_name(path): np.shape(leaf) for path, leaf in leaves}


def _checksums(state: PyTree) -> dict[str, int]:
    """Returns a checksum of the bits of each leaf, by path."""

    def bits(leaf) -> np.ndarray:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.ascontiguousarray(jax.random.key_data(leaf) if is_key else leaf).reshape(-1).view(np.uint8)

    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {path_name(path): zlib.crc32(bits(leaf).data) for path, leaf in leaves}


def fingerprint(state: PyTree) -> str:
    """Returns eight hexadecimal digits that differ for states with other bits."""
    return f"{zlib.crc32(json.dumps(_checksums(state), sort_keys=True).encode()):08x}"


def _checksum_of_meta(meta: dict, score: float) -> int:
    parts = [meta["shapes"], meta.get("checksums"), score, *([meta["origin"]] if "origin" in meta else [])]
    return zlib.crc32(json.dumps(parts, sort_keys=True).encode())


def _first_line(error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}".split(". See full TensorStore details")[0].splitlines()[0]
    return reason[:200]
