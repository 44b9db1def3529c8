"""What must hold before a run is started or resumed, and what it notes of itself in its folder."""

import contextlib
import dataclasses
import errno
import io
import os
from functools import partial
from pathlib import Path

import jax
from ml_collections import ConfigDict

from rgbir_jax.commands import check
from rgbir_jax.data.contents import Contents
from rgbir_jax.data.sources import fingerprint
from rgbir_jax.datasets import find_dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.errors import MissingFileError, UserError
from rgbir_jax.evaluation.benchmark import Benchmark
from rgbir_jax.files import write_json, writing
from rgbir_jax.origin import (
    CONFIG,
    FACTS,
    Facts,
    flat,
    flat_of_stage,
    latest_copy,
    lost,
    origin_of,
    other_earlier,
    other_keys,
    read_config,
    trained,
)
from rgbir_jax.training import processes
from rgbir_jax.training.checkpoints import Checkpoints, has_checkpoint
from rgbir_jax.training.loop import DIVERGED
from rgbir_jax.training.stage import Stage


def check_keys(config: ConfigDict) -> None:
    """Refuses a config that lacks a value which only training reads, and that after the first iteration."""
    pictures = [(config[name], "pictures_every") for name in config.recipe]
    for section, key in ((config, "patience_nonfinite"), (config.batch, "parts"), *pictures):
        section[key]


def check_precision(config: ConfigDict) -> None:
    """Refuses float64 if JAX computes in float32 in its place."""
    if config.dtype == "float64" and not jax.config.values["jax_enable_x64"]:
        raise UserError(
            "config.dtype is float64, which JAX takes for float32; set the environment variable JAX_ENABLE_X64=1, or "
            "set config.dtype to float32."
        )


def check_place(folder: Path) -> None:
    """Refuses a run's folder that is a file, or that cannot be made: decoding the images would be in vain.

    An existing folder may be read-only: a finished run is not written.
    """
    with writing(folder):
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if existing != folder and not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def check_files(config: ConfigDict, folder: Path) -> None:
    """Refuses files and runs that are not there, before the dataset is read."""
    if config.resnet50 and not Path(config.resnet50).is_file():
        raise UserError(f"config.resnet50 {config.resnet50} is not there; name torchvision's file, or leave it empty.")
    for name, run in _to_take(config, folder).items():
        if not has_checkpoint(Path(run) / name):
            raise UserError(
                f"{run}/{name} has no checkpoint: config.{name}.from_run does not name a run with a trained stage "
                f"{name}; train it first, or leave the name empty."
            )


def _to_take(config: ConfigDict, folder: Path) -> dict[str, str]:
    """Returns the runs that stages are still to be taken from, by the stage's name."""
    runs = {name: config[name].from_run for name in config.recipe}
    return {name: run for name, run in runs.items() if run and not has_checkpoint(folder / name)}


def check_taken(config: ConfigDict, folder: Path, now: Contents) -> None:
    """Refuses a stage that is taken from a run on other training images."""
    for name, run in _to_take(config, folder).items():
        before = origin_of(Path(run) / name)
        facts = Facts(**before["facts"]) if before else Facts.read(Path(run))
        if difference := facts.difference(now):
            raise UserError(
                f"{run} was trained on {difference}; config.{name}.from_run needs a run on the same training images."
            )


def check_fits(config: ConfigDict, folder: Path, stages: dict[str, Stage]) -> None:
    """Refuses a stage that is taken from a run and has other networks, before the stages before it are trained."""
    taken, states = _to_take(config, folder), {}
    for name, stage in stages.items() if taken else ():
        states[name] = jax.eval_shape(stage.init, jax.random.key(0), dict(states))
        if name in taken:
            checkpoints = Checkpoints(Path(taken[name]) / name / "checkpoints")
            checkpoints.first_intact(checkpoints.best_first(), partial(checkpoints.check_shapes, like=states[name]))


def check_scored(config: ConfigDict, records: Records) -> None:
    """Refuses images that the protocol cannot be scored on: scoring would say so after the last iteration.

    A copy without anybody to test, or without a file that only scoring needs, can be trained on.
    """
    if not len(find_dataset(config.dataset).rows(records, "test")):
        return
    # What is left out is printed by `say_faults`.
    with contextlib.suppress(MissingFileError), contextlib.redirect_stderr(io.StringIO()):
        Benchmark.of(config, records)


def say_faults(config: ConfigDict, records: Records) -> None:
    """Prints what is wrong with the dataset and does not prevent training, such as a file that only scoring needs."""
    galleries = Path(config.rand_perm) if config.rand_perm else None
    dataset, root = find_dataset(config.dataset), Path(config.data_dir)
    for sentence in check.faults(dataset, root, records, (config.protocol,), galleries):
        processes.say(sentence)


def note_run(config: ConfigDict, folder: Path, contents: Contents, records: Records) -> Facts:
    """Writes config.json and run.json if they change, so that a finished run needs no disk that can be written.

    Args:
        config: the recipe.
        folder: the run's folder.
        contents: what its dataset holds.
        records: the dataset's table.

    Returns:
        The facts of the run. If it is resumed, only the place of its config file can be new.
    """
    dataset = find_dataset(config.dataset).title_of(Path(config.data_dir), records)
    facts = Facts.now(contents, config, dataset, fingerprint(config.data_dir, records))
    if not processes.is_first():
        return facts
    missing = lost(folder)
    if before := _facts(folder):
        facts = dataclasses.replace(before, config_folder=facts.config_folder)
    if facts != before or FACTS in missing:
        facts.write(folder)
    older = read_config(folder).to_dict() if trained(folder) else {}
    if older != config.to_dict() or CONFIG in missing:
        for key, rate in flat(config.to_dict()).items() if older else ():
            if key.endswith(".learning_rate") and flat(older)[key] != rate:
                processes.say(
                    f"{folder} is trained further with config.{key} = {rate}; up to now it was {flat(older)[key]}."
                )
        write_json(folder / CONFIG, config.to_dict())
    return facts


def _facts(folder: Path) -> Facts | None:
    """Returns the facts of a run that has begun; without a checkpoint, nothing binds the next start."""
    if not trained(folder):
        return None
    try:
        return Facts.read(folder)
    except UserError:
        if (folder / FACTS).is_file():
            raise
        return None  # an older version kept no copy


def check_same_data(config: ConfigDict, folder: Path, now: Contents, records: Records) -> None:
    """Refuses to resume a run on other training images: its next batches would be other ones.

    Args:
        config: the recipe.
        folder: the run's folder.
        now: what its dataset holds.
        records: the dataset's table.
    """
    if not trained(folder):
        return
    facts = _facts(folder)
    stages = {stage: Facts(**before["facts"]) for stage in trained(folder) if (before := origin_of(stage))}
    for place, before in (({folder: facts} if facts else {}) | stages).items():
        if difference := before.difference(now):
            raise UserError(
                f"{place} was trained on {difference}; set --config.data_dir back or choose another --workdir."
            )
    if not facts:
        processes.say(f"{folder / FACTS} is missing: nobody can tell whether {folder} was trained on this dataset.")
    elif not facts.checksums and facts.fingerprint != fingerprint(config.data_dir, records):
        processes.say(f"{folder} was started on other image files of the same identities; it resumes on these.")
    elif facts.checksums and facts.parts["val"] != now.parts["val"]:
        processes.say(f"{folder} was started on other validation images: scores on them do not compare with these.")


def check_own_config(config: ConfigDict, folder: Path) -> None:
    """Refuses to resume a run without config.json if the copy in its checkpoints is that of another run."""
    if CONFIG in lost(folder) and (copy := latest_copy(folder)):
        stage = copy[0].parent.name
        if stage in config.recipe and config[stage].from_run:
            raise UserError(
                f"{folder / CONFIG} is missing or damaged, and {copy[0]} has only the config of the run that {stage} "
                f"was taken from; copy {CONFIG} from a backup, or choose another --workdir."
            )


def check_same_run(config: ConfigDict, folder: Path) -> None:
    """Refuses to resume a run with another config. Only a stage whose training has diverged may change its rates."""
    if not trained(folder):
        return
    _refuse_other_values(folder, flat(read_config(folder).to_dict()), flat(config.to_dict()))
    for stage in trained(folder):
        own = stage.name in config.recipe and not config[stage.name].from_run
        if own and (before := origin_of(stage)):
            there, here = (flat_of_stage(some, stage.name) for some in (before["config"], config.to_dict()))
            _refuse_other_values(stage, there, here)


def _refuse_other_values(place: Path, before: dict, now: dict) -> None:
    for key in other_keys(before, now):
        if key not in before:
            raise UserError(
                f"{place} was started by a version of this code without config.{key}; finish it with that version "
                f"(run.json names its commit), or choose another --workdir."
            )
        if key.endswith(".learning_rate") and (place / key.split(".")[0] / DIVERGED).is_file():
            continue
        raise UserError(
            f"{place} was started with config.{key} = {before[key]}, now it is {now.get(key)}; "
            f"set it back or choose another --workdir."
        )


def check_steps(config: ConfigDict, folder: Path, stages: dict[str, Stage]) -> None:
    """Refuses to train a stage further after a later one has been trained from it."""
    for name, stage in stages.items():
        if not has_checkpoint(folder / name):
            continue
        before = origin_of(folder / name).get("config") or read_config(folder).to_dict()
        for earlier in filter(None, (*stage.needs, stage.reads)):
            done, steps = Checkpoints(folder / earlier / "checkpoints").latest() or 0, config[earlier].steps
            if not config[earlier].from_run and steps > max(done, before[earlier]["steps"]):
                raise UserError(
                    f"{folder / name} was trained from {earlier}, so {earlier} cannot be trained further: set "
                    f"config.{earlier}.steps back to {before[earlier]['steps']}, or choose another --workdir."
                )


def check_earlier(stage_folder: Path, earlier: dict[str, dict]) -> None:
    """Refuses to train a stage on if an earlier one is no longer what it was trained from.

    Args:
        stage_folder: the stage's folder.
        earlier: what `origin.earlier_of` gives now.
    """
    for sentence in other_earlier(stage_folder, earlier).values():
        raise UserError(f"{sentence}; put the former one back, or choose another --workdir.")


def say_lost(folder: Path) -> None:
    """Prints which files of a run are written again from their copies."""
    for sentence in lost(folder).values():
        processes.say(sentence)
