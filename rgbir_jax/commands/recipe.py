"""Trains a recipe: stages in order, each from the data and from the states of earlier ones."""

import functools
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from rgbir_jax import stages
from rgbir_jax.commands import start
from rgbir_jax.data import augment
from rgbir_jax.data.contents import Contents, contents_of
from rgbir_jax.data.sampling import IdentitySampler
from rgbir_jax.data.source import Source, batches
from rgbir_jax.data.sources import ImageSource, fingerprint, open_source
from rgbir_jax.datasets import find_dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.benchmark import Benchmark, validation, validator
from rgbir_jax.files import locked, writing
from rgbir_jax.inference.embeddings import embed
from rgbir_jax.lookup import expand_home, expanded, named_keys
from rgbir_jax.origin import Facts, earlier_of
from rgbir_jax.run import restore
from rgbir_jax.training import compilation, parallel, processes, transfer
from rgbir_jax.training.checkpoints import has_checkpoint
from rgbir_jax.training.loop import fit
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State


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
    with named_keys(config):
        _train(config, workdir, debug_nans)


def _train(config: ConfigDict, workdir: str, debug_nans: bool) -> None:
    compilation.prepare()
    expand_home(config)
    folder = expanded(workdir)
    stages.check_recipe(config)
    start.check_keys(config)
    start.check_precision(config)
    start.check_place(folder)
    find_dataset(config.dataset).check_protocol(config.protocol)
    start.check_own_config(config, folder)
    start.say_lost(folder)
    start.check_same_run(config, folder)
    start.check_files(config, folder)
    records = find_dataset(config.dataset).read_with(Path(config.data_dir), config)
    sampler = training_sampler(config, records)
    parallel.check_batch(config.batch.identities, config.batch.parts)
    start.check_scored(config, records)
    start.say_faults(config, records)
    validated = validation(config, records)
    built = {name: stages.build(config, name, len(sampler.people)) for name in config.recipe}
    start.check_steps(config, folder, built)
    transfer.check_resnet50(config.resnet50, built)
    start.check_fits(config, folder, built)
    weights = {name: transfer.starting_weights(config, name, stage, folder / name) for name, stage in built.items()}
    source, contents = processes.first_then_others(lambda: _open(config, folder, records))
    with _only_training(folder):
        start.check_same_run(config, folder)  # another process may have begun it since
        start.check_same_data(config, folder, contents, records)
        facts = start.note_run(config, folder, contents, records)
        _train_stages(config, folder, built, weights, source, sampler, validated, facts, debug_nans)
    processes.say(f"{folder} is trained; eval.py --workdir {folder} scores it.")


def _open(config: ConfigDict, folder: Path, records: Records) -> tuple[ImageSource, Contents]:
    """Opens the images. Whatever can be refused is refused before they are decoded, which takes minutes."""
    contents = contents_of(config, records)
    start.check_same_data(config, folder, contents, records)
    start.check_taken(config, folder, contents)
    return open_source(config, records), contents


def _train_stages(
    config: ConfigDict,
    folder: Path,
    built: dict[str, Stage],
    weights: dict[str, transfer.Variables],
    source: ImageSource,
    sampler: IdentitySampler,
    validated: Benchmark | None,
    facts: Facts,
    debug_nans: bool,
) -> None:
    key = jax.random.key(config.seed)
    states: dict[str, State] = {}
    sampled = sample_rows(config, source.records)
    for position, (name, stage) in enumerate(built.items()):
        # Drawing thousands of weights compiles twice as fast with this kind of key. The draws of a step keep the
        # default.
        init_key = jax.random.key(config.seed + position, impl="rbg")
        like = jax.eval_shape(stage.init, init_key, dict(states))
        earlier = earlier_of(stage, states)
        if config[name].from_run:
            _take(Path(config[name].from_run) / name, folder / name, like, earlier)
        else:
            start.check_earlier(folder / name, earlier)
            inputs = inputs_of(stage, built, states, source, config, folder)
            fit(
                stage,
                transfer.start(stage.init(init_key, states), weights[name]),
                functools.partial(batches, inputs, sampler),
                jax.random.fold_in(key, position),
                config[name],
                folder / name,
                evaluate=validator(validated, inputs, stage),
                sample=augment.normalise(source.read(sampled)) if len(sampled) else None,
                patience=config.patience_nonfinite,
                images=lambda step: source.records.path[sampler(step).ravel()].tolist(),
                debug_nans=debug_nans,
                origin={"config": config.to_dict(), "facts": asdict(facts), "earlier": earlier},
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
    """Returns what a stage learns from and is scored on: the images, or the features of the stage that it reads.

    These are kept in `folder`, in a folder with the name of that stage.
    """
    if not stage.reads:
        return source
    path = folder / stage.reads / "embeddings.npz"
    data = fingerprint(config.data_dir, source.records)
    return embed(stages[stage.reads], states[stage.reads], source, data, path)


def training_sampler(config: ConfigDict, records: Records) -> IdentitySampler:
    """Makes the sampler of every stage of the recipe, for this process."""
    return IdentitySampler(
        records,
        find_dataset(config.dataset).training_rows(records, config.train_split),
        identities=config.batch.identities,
        shots=config.batch.shots,
        modalities=tuple(config.modalities),
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def sample_rows(config: ConfigDict, records: Records, identities: int = 4) -> Int[np.ndarray, "n"]:
    """Chooses the images that pictures are made of, by modality: the first of the first test identities.

    Only identities with images of all `config.modalities` are chosen; without one there are no pictures.
    """
    test = find_dataset(config.dataset).rows(records, "test")
    test = test[records.person_id[test] > 0]
    by_modality = [test[records.modality[test] == modality] for modality in config.modalities]
    people = functools.reduce(np.intersect1d, [records.person_id[rows] for rows in by_modality])[:identities]
    return np.array([rows[records.person_id[rows] == person][0] for rows in by_modality for person in people], np.int64)


def _take(source: Path, own: Path, like: State, earlier: dict[str, dict]) -> None:
    """Copies a stage of another run, if it can be restored, so that this run can be opened without that one."""
    if not processes.any_of(not has_checkpoint(own)):
        start.check_earlier(own, earlier)
        return
    start.check_earlier(source, earlier)
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
