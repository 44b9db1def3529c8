"""What a run was made from: config.json and run.json, the copies of both in its checkpoints, and how they compare."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar, get_origin, get_type_hints

from ml_collections import ConfigDict

from rgbir_jax.data.augment import MEAN, STD
from rgbir_jax.data.contents import Contents
from rgbir_jax.errors import MissingKeyError, UserError
from rgbir_jax.files import read_json, write_json
from rgbir_jax.lookup import CONFIG_FOLDER, either, expanded, named_keys
from rgbir_jax.synthetic.writing import drawn_with
from rgbir_jax.training.checkpoints import Checkpoints, fingerprint, has_checkpoint
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

T = TypeVar("T")
CONFIG, FACTS = "config.json", "run.json"
SHARED = ("batch", "augment")  # sections of a config that are of no stage
# Keys that may change between two runs of the same command: where things are and how long it takes, not what is
# computed.
FREE = {"data_dir", "prepared_dir", "source", "steps", "log_every", "pictures_every", "evaluate_every"}
FREE |= {"checkpoint_every", "rand_perm", "protocol", "patience_nonfinite"}
INCLUDED = Path(__file__).parent / "trained"  # a folder per model that comes with the package
PACKAGES = ("rgbir-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@dataclass(frozen=True, kw_only=True)
class Facts(Contents):
    """What is needed to use a run without its dataset, and where it came from: the content of run.json.

    Attributes:
        image_size: (height, width) of the images in pixels.
        mean: the mean that normalised images have subtracted, by channel, in 0..1.
        std: the standard deviation that they are divided by.
        dataset: the dataset's name in tables; drawn people are named as such.
        fingerprint: the dataset's fingerprint, `data.sources.fingerprint`.
        drawn_with: what drawn people were drawn with, `synthetic.writing.drawn_with`; empty for real images, and in
            runs of older versions.
        config_folder: the folder of the config file, from which values that the config names can be imported.
        command: the command line.
        commit: the Git commit of the code; empty if it was not run from a checkout.
        started: the time at which training began.
        versions: versions of the packages.
    """

    image_size: list[int]
    mean: list[float]
    std: list[float]
    dataset: str
    fingerprint: str
    config_folder: str
    command: str
    commit: str
    started: str
    versions: Mapping[str, str]
    drawn_with: Mapping[str, object] = dataclasses.field(default_factory=dict)

    @classmethod
    def now(cls, contents: Contents, config: ConfigDict, dataset: str, fingerprint: str) -> "Facts":
        """Collects the facts of a run that begins now."""
        return cls(
            **asdict(contents),
            image_size=list(config.image_size),
            mean=MEAN.tolist(),
            std=STD.tolist(),
            dataset=dataset,
            fingerprint=fingerprint,
            drawn_with=drawn_with(expanded(config.data_dir)),
            config_folder=os.environ.get(CONFIG_FOLDER, ""),
            command=" ".join(sys.orig_argv[1:]),  # sys.argv has the config by its full path
            commit=_commit(),
            started=time.strftime("%Y-%m-%d %H:%M"),
            versions=versions(),
        )

    def write(self, folder: Path) -> None:
        """Writes run.json into a run's folder."""
        write_json(folder / FACTS, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Facts":
        """Reads run.json from a run's folder, or the copy in its checkpoints.

        Raises:
            UserError: if both are missing or damaged.
        """
        return _file_or_copy(folder, cls._read_file, lambda origin: cls(**origin["facts"]))

    @classmethod
    def _read_file(cls, folder: Path) -> "Facts":
        path = folder / FACTS
        if not path.is_file():
            raise UserError(f"{path} is missing; the command that trained the run writes it again.")
        values = read_json(path)
        kinds = {name: get_origin(kind) or kind for name, kind in get_type_hints(cls).items()}
        # Older versions did not note what has a default.
        later = {it.name for it in dataclasses.fields(cls) if it.default_factory is not dataclasses.MISSING}
        if not (
            kinds.keys() - later <= values.keys() <= kinds.keys()
            and all(isinstance(value, kinds[name]) for name, value in values.items())
        ):
            raise UserError(f"{path} is damaged; delete it: the command that trained the run writes it again.")
        return cls(**values)


def read_config(folder: Path) -> ConfigDict:
    """Reads the config that a run was started with: config.json, or the copy in its checkpoints.

    Raises:
        UserError: if nothing was trained in the folder, or if both are missing or damaged.
    """
    return ConfigDict(tuples(_file_or_copy(folder, _read_config_file, lambda origin: origin["config"])))


def _read_config_file(folder: Path) -> dict:
    path = folder / CONFIG
    if not path.is_file():
        if trained(folder):
            raise UserError(
                f"{path} is missing, and the checkpoints are of an older version, which kept no copy; "
                f"copy it from a backup, or train the run again in another folder."
            )
        raise UserError(
            f"{path} is missing: {folder} holds no run; train one with train.py --config RECIPE --workdir {folder}, "
            f"or load {either(included())}, which comes with the package."
        )
    config = read_json(path)
    if not config.get("recipe"):
        raise UserError(f"{path} has no recipe; copy it from a backup, or train the run again in another folder.")
    return config


def included() -> tuple[str, ...]:
    """Returns the names of the models that come with the package."""
    return tuple(sorted(folder.name for folder in INCLUDED.iterdir() if folder.is_dir()))


def lost(folder: Path) -> dict[str, str]:
    """Says which files of a run are missing or damaged, by name, and which checkpoint's copies are used instead."""
    sentences = {}
    for name, read in ((CONFIG, _read_config_file), (FACTS, Facts._read_file)):
        try:
            read(folder)
        except UserError:
            if copy := latest_copy(folder):
                sentences[name] = f"{folder / name} is missing or damaged; the copy in {copy[0]} is used."
    return sentences


def _file_or_copy(folder: Path, read: Callable[[Path], T], of_copy: Callable[[dict], T]) -> T:
    try:
        return read(folder)
    except UserError:
        if copy := latest_copy(folder):
            return of_copy(copy[1])
        raise


def latest_copy(folder: Path) -> tuple[Path, dict] | None:
    """Returns the checkpoint of the run's last trained stage that keeps copies, and its `origin_of`."""

    def place(stage: Path) -> int:
        recipe = origins[stage]["config"]["recipe"]
        return recipe.index(stage.name) if stage.name in recipe else -1

    origins = {stage: origin for stage in trained(folder) if (origin := origin_of(stage))}
    if not origins:
        return None
    last = max(origins, key=place)
    return last / "checkpoints", origins[last]


def trained(folder: Path) -> list[Path]:
    """Returns the folders of the run's stages that have a checkpoint."""
    return sorted(stage for stage in folder.glob("*") if has_checkpoint(stage))


def origin_of(stage_folder: Path) -> dict:
    """Returns what a stage was trained from, as its newest checkpoint keeps it; empty for older versions.

    Returns:
        `config` and `facts`, the content of config.json and run.json; `earlier`, see `earlier_of`.
    """
    return Checkpoints(stage_folder / "checkpoints").origin()


def earlier_of(stage: Stage, states: Mapping[str, State]) -> dict[str, dict]:
    """Identifies the states that a stage is trained from.

    Args:
        stage: the stage.
        states: the states of earlier stages by name.

    Returns:
        For each stage that it starts from, learns from or reads: `step`, its iteration, and `fingerprint`.
    """
    names = [name for name in dict.fromkeys((*stage.needs, stage.reads)) if name]
    return {name: identified(states[name]) for name in names}


def identified(state: State) -> dict:
    """Identifies a state: `step`, its iteration, and `fingerprint`."""
    return {"step": int(state.step), "fingerprint": fingerprint(state)}


def other_earlier(stage_folder: Path, earlier: Mapping[str, dict]) -> dict[str, str]:
    """Compares the states that a stage was trained from with those that its run has now.

    Args:
        stage_folder: the stage's folder.
        earlier: what `earlier_of` gives now.

    Returns:
        The beginning of a sentence about each that differs, by name.
    """
    before = origin_of(stage_folder).get("earlier", {})
    return {
        name: f"{stage_folder} was trained from {name} as it was after iteration {before[name]['step']}, and the run's "
        f"{name} is now another one, of iteration {now['step']}"
        for name, now in earlier.items()
        if before.get(name, now) != now
    }


def other_keys(before: Mapping, now: Mapping) -> list[str]:
    """Returns the keys in which two configs do not compute the same, sorted.

    Args:
        before: the values of a config by their full key, see `flat`.
        now: those of the other.
    """
    differ = (key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return sorted(key for key in differ if key.split(".")[-1] not in FREE)


def flat_of_stage(config: Mapping, name: str) -> dict:
    """Returns the values of a config that a stage depends on, by their full key, without learning rates.

    The rates may be changed after training has diverged.
    """
    parts = {key: value for key, value in config.items() if not isinstance(value, dict) or key in (*SHARED, name)}
    return {key: value for key, value in flat(parts).items() if not key.endswith(".learning_rate")}


@contextmanager
def complete(folder: Path, config: ConfigDict, facts: Facts) -> Iterator[None]:
    """Turns the error for a key that a run's config lacks into a UserError.

    Args:
        folder: the run's folder.
        config: its config.
        facts: its facts.

    Raises:
        UserError: naming the key, and the version that can open the run.
    """
    try:
        with named_keys(config):
            yield
    except MissingKeyError as error:
        trained_by = f"commit {facts.commit}" if facts.commit else f"rgbir-jax {facts.versions.get('rgbir-jax')}"
        raise UserError(
            f"{folder} was trained without {error.key}, which this version of the code needs; open it with the version "
            f"that trained it, {trained_by}."
        ) from error


def tuples(value):
    """Turns the lists of JSON into the tuples that a config has."""
    if isinstance(value, dict):
        return {name: tuples(inner) for name, inner in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list | tuple) else value


def flat(tree: Mapping, prefix: str = "") -> dict:
    """Returns the values of a nested config by their full key, such as "teacher.steps"."""
    values = {}
    for name, value in tree.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: tuples(value)}
    return values


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def versions(*others: str) -> dict[str, str]:
    """Returns the versions of the package and of what it needs, and of others that are installed, by name."""
    known = {package: _version(package) for package in (*PACKAGES, *others)}
    return {package: number for package, number in known.items() if package in PACKAGES or number != "unknown"}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
