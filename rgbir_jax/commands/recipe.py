"""Trains a recipe: stages in order, each from the data and from the states of earlier ones."""

import dataclasses
import functools
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from rgbir_jax import stages
from rgbir_jax.commands import check
from rgbir_jax.data import augment
from rgbir_jax.data.sampling import IdentitySampler
from rgbir_jax.data.source import Source, batches
from rgbir_jax.data.sources import ImageSource, fingerprint, open_source
from rgbir_jax.datasets import find_dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.benchmark import validator
from rgbir_jax.files import locked, write_json, writing
from rgbir_jax.inference.embeddings import embed
from rgbir_jax.lookup import choose, expand_home
from rgbir_jax.run import Facts, flat, read_config, restore
from rgbir_jax.training import compilation, processes, transfer
from rgbir_jax.training.checkpoints import has_checkpoint
from rgbir_jax.training.loop import DIVERGED, fit
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

# Keys that may change between two runs of the same command: where things are and how long it takes, not what is
# computed.
_FREE = {"data_dir", "prepared_dir", "source", "steps", "log_every", "pictures_every", "evaluate_every"}
_FREE |= {"checkpoint_every", "rand_perm", "protocol", "patience_nonfinite"}


def train(config: ConfigDict, workdir: str, debug_nans: bool = False) -> None:
    """Trains every unfinished stage of the recipe, resuming from checkpoints. Every process must call it.

    Args:
        config: a config of `configs/`.
        workdir: the run's folder, with a folder per stage. All processes see the same one.
        debug_nans: whether an iteration whose numbers are not finite is replayed when it stops training.

    Raises:
        UserError: for a config that contradicts itself, the data or the run in `workdir`, for data that cannot be
            read, for files that cannot be written, or if another process trains in `workdir`.
        NotFiniteError: for losses, gradients or parameters that are not finite; the last good checkpoint stays.
    """
    compilation.prepare()
    expand_home(config)
    folder = Path(workdir).expanduser()
    stages.check_recipe(config)
    find_dataset(config.dataset).check_protocol(config.protocol)
    _check_same_run(config, folder)
    _check_files(config, folder)
    source = processes.first_then_others(lambda: open_source(config))
    sampler = training_sampler(config, source.records)
    _say_faults(config, source.records)
    _check_same_data(folder, sampler.people, config.data_dir, source.records)
    _check_taken(config, folder, sampler.people)
    built = {name: stages.build(config, name, len(sampler.people)) for name in config.recipe}
    transfer.check_resnet50(config.resnet50, built)
    # Read before anything is trained, so that what does not fit is refused at once.
    weights = {name: transfer.starting_weights(config, name, stage, folder / name) for name, stage in built.items()}
    with _only_training(folder):
        _check_same_run(config, folder)  # another process may have begun it since
        _check_same_data(folder, sampler.people, config.data_dir, source.records)
        _note_run(config, folder, sampler, source.records)
        _train_stages(config, folder, built, weights, source, sampler, debug_nans)
    processes.say(f"{folder} is trained; eval.py --workdir {folder} scores it.")


def _train_stages(
    config: ConfigDict,
    folder: Path,
    built: dict[str, Stage],
    weights: dict[str, transfer.Variables],
    source: ImageSource,
    sampler: IdentitySampler,
    debug_nans: bool,
) -> None:
    key = jax.random.key(config.seed)
    states: dict[str, State] = {}
    for position, (name, stage) in enumerate(built.items()):
        # Drawing thousands of weights compiles twice as fast with this kind of key. The draws of a step keep the
        # default.
        init_key = jax.random.key(config.seed + position, impl="rbg")
        like = jax.eval_shape(stage.init, init_key, dict(states))
        if config[name].from_run:
            _take(Path(config[name].from_run) / name, folder / name, like)
        else:
            inputs = inputs_of(stage, built, states, source, config, folder)
            fit(
                stage,
                transfer.start(stage.init(init_key, states), weights[name]),
                functools.partial(batches, inputs, sampler),
                jax.random.fold_in(key, position),
                config[name],
                folder / name,
                evaluate=validator(config, inputs, stage),
                sample=augment.normalise(source.read(sample_rows(config, source.records))),
                patience=config.patience_nonfinite,
                images=lambda step: source.records.path[sampler(step).ravel()].tolist(),
                debug_nans=debug_nans,
            )
        states[name] = restore(folder / name, like)


@contextmanager
def _only_training(folder: Path) -> Iterator[None]:
    """Makes the run's folder, and keeps other trainings out of it. The first process does so for all.

    Raises:
        UserError: in all processes, if another one trains there or if the folder cannot be made.
    """
    refusal = None
    with ExitStack() as opened:
        if processes.is_first():
            try:
                with writing(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                way_out = "wait until it has ended, or choose another --workdir."
                opened.enter_context(locked(folder, "trained", wait=False, way_out=way_out))
            except UserError as error:
                refusal = error
        if processes.any_of(refusal is not None):
            raise refusal or UserError(f"{folder} cannot be used; the first process says why.")
        yield


def inputs_of(
    stage: Stage,
    stages: dict[str, Stage],
    states: dict[str, State],
    source: ImageSource,
    config: ConfigDict,
    folder: Path,
) -> Source:
    """Returns what a stage learns from and is scored on: the images, or the features of the stage that it reads."""
    if not stage.reads:
        return source
    path = folder / stage.reads / "embeddings.npz"
    data = fingerprint(config.data_dir, source.records)
    return embed(stages[stage.reads], states[stage.reads], source, data, path)


def training_sampler(config: ConfigDict, records: Records) -> IdentitySampler:
    """Makes the sampler of every stage of the recipe, for this process."""
    modalities = tuple(config.modalities)
    choose(modalities, ((0, 1), (0,), (1,), (1, 0)), "config.modalities")
    return IdentitySampler(
        records,
        find_dataset(config.dataset).training_rows(records, config.train_split),
        identities=config.batch.identities,
        shots=config.batch.shots,
        modalities=modalities,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def sample_rows(config: ConfigDict, records: Records, identities: int = 4) -> np.ndarray:
    """Chooses the images that pictures are made of: the first of the first test identities, by modality."""
    test = find_dataset(config.dataset).rows(records, "test")
    test = test[records.person_id[test] > 0]
    people = np.unique(records.person_id[test])[:identities]
    return np.array(
        [
            test[(records.person_id[test] == person) & (records.modality[test] == modality)][0]
            for modality in config.modalities
            for person in people
        ]
    )


def _take(source: Path, own: Path, like: State) -> None:
    """Copies a stage of another run, if it can be restored, so that this run can be opened without that one."""
    if not processes.any_of(not has_checkpoint(own)):
        return
    restore(source, like)
    if processes.is_first():
        unfinished = own.with_name(f"{own.name}.{os.getpid()}.unfinished")
        try:
            with writing(own):
                shutil.copytree(source, unfinished, ignore=shutil.ignore_patterns("embeddings.npz"))
                shutil.rmtree(own, ignore_errors=True)
                unfinished.replace(own)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    processes.any_of(False)  # the others wait for the copy


def _check_files(config: ConfigDict, folder: Path) -> None:
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


def _check_taken(config: ConfigDict, folder: Path, people: np.ndarray) -> None:
    """Refuses a stage that is taken from a run on other training identities."""
    for name, run in _to_take(config, folder).items():
        if Facts.read(Path(run)).people != people.tolist():
            raise UserError(
                f"{run} was trained on other identities than this dataset's; config.{name}.from_run needs a run on "
                f"the same ones."
            )


def _say_faults(config: ConfigDict, records: Records) -> None:
    """Prints what is wrong with the dataset and does not prevent training, such as a file that only scoring needs."""
    galleries = Path(config.rand_perm) if config.rand_perm else None
    dataset, root = find_dataset(config.dataset), Path(config.data_dir)
    for sentence in check.faults(dataset, root, records, (config.protocol,), galleries):
        processes.say(sentence)


def _note_run(config: ConfigDict, folder: Path, sampler: IdentitySampler, records: Records) -> None:
    """Writes config.json and run.json if they change, so that a finished run needs no disk that can be written.

    Of a run that is resumed, only the place of its config file can be new.
    """
    if not processes.is_first():
        return
    dataset = find_dataset(config.dataset).title_of(Path(config.data_dir), records)
    facts = Facts.now(sampler.people, config, dataset, fingerprint(config.data_dir, records))
    is_begun = _is_begun(folder)
    if is_begun and (folder / "run.json").is_file():
        facts = dataclasses.replace(Facts.read(folder), config_folder=facts.config_folder)
        if facts != Facts.read(folder):
            facts.write(folder)
    else:
        facts.write(folder)
    before = read_config(folder).to_dict() if is_begun else {}
    if before == config.to_dict():
        return
    for key, rate in flat(config.to_dict()).items() if is_begun else ():
        if key.endswith(".learning_rate") and flat(before)[key] != rate:
            processes.say(
                f"{folder} is trained further with config.{key} = {rate}; up to now it was {flat(before)[key]}."
            )
    write_json(folder / "config.json", config.to_dict())


def _is_begun(folder: Path) -> bool:
    """Says whether a stage of the run has a checkpoint; without one, nothing binds the next start."""
    return any(has_checkpoint(stage) for stage in folder.glob("*"))


def _check_same_data(folder: Path, people: np.ndarray, data_dir: str, records: Records) -> None:
    """Refuses to resume a run on other training identities; says so if only the image files changed.

    Args:
        folder: the run's folder.
        people: person_id of each training identity.
        data_dir: the dataset's folder.
        records: its table. The fingerprint of its files also changes if the tree was copied.
    """
    if not (_is_begun(folder) and (folder / "run.json").is_file()):
        return
    facts = Facts.read(folder)
    if facts.people != people.tolist():
        raise UserError(
            f"{folder} was trained on {len(facts.people)} other identities than the {len(people)} of this dataset; "
            f"set --config.data_dir back or choose another --workdir."
        )
    if facts.fingerprint != fingerprint(data_dir, records):
        processes.say(f"{folder} was started on other image files of the same identities; it resumes on these.")


def _check_same_run(config: ConfigDict, folder: Path) -> None:
    """Refuses to resume a run with another config. Only a stage whose training has diverged may change its rates."""
    if not _is_begun(folder):
        return
    before, now = (flat(some.to_dict()) for some in (read_config(folder), config))
    for key in sorted(before.keys() | now.keys()):
        stage, last = key.split(".")[0], key.split(".")[-1]
        if last in _FREE or before.get(key) == now.get(key):
            continue
        if key not in before:
            raise UserError(
                f"{folder} was started by a version of this code without config.{key}; finish it with that version "
                f"(run.json names its commit), or choose another --workdir."
            )
        if last == "learning_rate" and (folder / stage / DIVERGED).is_file():
            continue
        raise UserError(
            f"{folder} was started with config.{key} = {before.get(key)}, now it is {now.get(key)}; "
            f"set it back or choose another --workdir."
        )
