"""A recipe: stages run in order, each from the data and from what the earlier ones became."""

import functools
import json
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from rgbir_jax import stages
from rgbir_jax.data import augment
from rgbir_jax.data.embedded import EmbeddedSource
from rgbir_jax.data.sampling import IdentitySampler
from rgbir_jax.data.source import Source, fingerprint, open_source
from rgbir_jax.evaluation.benchmark import validator
from rgbir_jax.evaluation.embeddings import embed
from rgbir_jax.training import compilation, processes, transfer
from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.loop import fit
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

TRAIN_SPLITS = {"trainval": ("train", "val"), "train": ("train",)}

# What may change between two runs of the same command: where things lie and how long it goes on, not what is computed.
_FREE = {"data_dir", "prepared_dir", "source", "steps", "log_every", "pictures_every", "evaluate_every"}
_FREE |= {"checkpoint_every", "rand_perm", "protocol"}


def train(config: ConfigDict, workdir: str) -> None:
    """Runs what is not finished of a recipe and goes on with what is half done; every process of a run calls it.

    Args:
        config: of `configs/`.
        workdir: has a folder a stage; `config.json` notes what was asked for. All processes see the same one.

    Raises:
        ValueError: for a config that contradicts itself, the data or the run in `workdir`.
        OSError: for data that cannot be read.
        FloatingPointError: for a loss, a gradient or a parameter that is not finite; the last good checkpoint stays.
    """
    compilation.prepare()
    _check_same_run(config, Path(workdir))
    source = processes.first_then_others(lambda: open_source(config))
    sampler = training_sampler(config, source)
    built = {name: stages.build(config, name, sampler.classes) for name in config.recipe}
    # Read before anything is trained, so that what does not fit is refused at once.
    weights = {
        name: transfer.starting_weights(config, name, stage, Path(workdir) / name) for name, stage in built.items()
    }
    _keep_config(config, Path(workdir))

    key = jax.random.key(config.seed)
    done: dict[str, tuple[Stage, State]] = {}
    for position, (name, stage) in enumerate(built.items()):
        _check_order(stage, name, done)
        previous = {earlier: state for earlier, (_, state) in done.items()}
        # Drawing thousands of weights compiles twice as fast from this kind of key; a step's draws keep the default.
        init_key = jax.random.key(config.seed + position, impl="rbg")
        if not config[name].from_run:
            inputs = read_by(stage, done, source, config, workdir)
            fit(
                stage,
                transfer.start(stage.init(init_key, previous), weights[name]),
                functools.partial(
                    inputs.batches, sampler, process_index=jax.process_index(), process_count=jax.process_count()
                ),
                jax.random.fold_in(key, position),
                config[name],
                Path(workdir) / name,
                evaluate=validator(config, inputs, stage),
                sample=augment.normalise(source.images(sample_rows(config, source))),
            )
        like = jax.eval_shape(stage.init, init_key, previous)
        done[name] = stage, restore(directory(config, workdir, name), like)


def load(config: ConfigDict, workdir: str, classes: int) -> dict[str, tuple[Stage, State]]:
    """Every stage of a finished run with the State to score it by: the best on validation, else the last.

    Raises:
        ValueError: where a stage has no checkpoint, or one of another model.
    """
    loaded: dict[str, tuple[Stage, State]] = {}
    for name in config.recipe:
        stage = stages.build(config, name, classes)
        previous = {earlier: state for earlier, (_, state) in loaded.items()}
        shapes = jax.eval_shape(stage.init, jax.random.key(0), previous)
        loaded[name] = stage, restore(directory(config, workdir, name), shapes)
    return loaded


def directory(config: ConfigDict, workdir: str, name: str) -> Path:
    """Where a stage's checkpoints are: in this run's folder, or in that of the run it is taken from."""
    return Path(config[name].from_run or workdir) / name


def read_by(
    stage: Stage, loaded: dict[str, tuple[Stage, State]], source: Source, config: ConfigDict, workdir: str
) -> Source | EmbeddedSource:
    """What a stage learns from and is scored on: the images, or the features of the stage that it reads."""
    if not stage.reads:
        return source
    path = directory(config, workdir, stage.reads) / "embeddings.npz"
    return embed(*loaded[stage.reads], source, fingerprint(config.data_dir, source.records), path)


def restore(folder: Path, like: State) -> State:
    """The State that a stage is scored by and later stages start from."""
    checkpoints = Checkpoints(folder / "checkpoints")
    step = checkpoints.best()
    if step is None:
        raise ValueError(f"{folder} has no checkpoint; run train.py with this workdir first.")
    state = checkpoints.restore(step, like)
    checkpoints.close()
    return state


def training_sampler(config: ConfigDict, source: Source) -> IdentitySampler:
    """The batches of every stage of the recipe, a function of (seed, step)."""
    if config.train_split not in TRAIN_SPLITS:
        raise ValueError(f'config.train_split "{config.train_split}" is unknown; choose "trainval" or "train".')
    rows = np.flatnonzero(np.isin(source.records.split, TRAIN_SPLITS[config.train_split]))
    return IdentitySampler(
        source.records,
        rows,
        identities=config.batch.identities,
        shots=config.batch.shots,
        modalities=tuple(config.modalities),
        seed=config.seed,
    )


def sample_rows(config: ConfigDict, source: Source, identities: int = 4) -> np.ndarray:
    """Rows of the images that pictures are made of: the first of the first test identities, by modality."""
    records = source.records
    unseen = np.flatnonzero(~np.isin(records.split, TRAIN_SPLITS["trainval"]) & (records.person_id > 0))
    people = np.unique(records.person_id[unseen])[:identities]
    return np.array(
        [
            unseen[np.flatnonzero((records.person_id[unseen] == person) & (records.modality[unseen] == modality))[0]]
            for modality in config.modalities
            for person in people
        ]
    )


def read_config(workdir: str) -> ConfigDict:
    """The config that a run was started with.

    Raises:
        FileNotFoundError: where nothing was trained.
    """
    path = Path(workdir) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: {workdir} holds no run; train one with train.py --workdir {workdir}."
        )
    return ConfigDict(_tuples(json.loads(path.read_text())))


def _check_order(stage: Stage, name: str, done: dict) -> None:
    for needed in stage.needs:
        if needed not in done:
            raise ValueError(f'stage "{name}" needs "{needed}"; name it before "{name}" in config.recipe.')


def _keep_config(config: ConfigDict, workdir: Path) -> None:
    if not processes.is_first():
        return
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n")


def _check_same_run(config: ConfigDict, workdir: Path) -> None:
    if not (workdir / "config.json").is_file():
        return
    before, now = (_flat(read.to_dict()) for read in (read_config(str(workdir)), config))
    for key in sorted(before.keys() | now.keys()):
        if key.split(".")[-1] not in _FREE and before.get(key) != now.get(key):
            raise ValueError(
                f"{workdir} was started with config.{key} = {before.get(key)}, now it is {now.get(key)}; "
                f"set it back or choose another --workdir."
            )


def _flat(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: _tuples(value)}
    return flat


def _tuples(value):
    """JSON's lists as the tuples that a config has."""
    if isinstance(value, dict):
        return {name: _tuples(inner) for name, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
