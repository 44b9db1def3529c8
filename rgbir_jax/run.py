"""A trained run, opened from its folder only: config, classes, stages and their states.

Some models of drawn people come with the package and are opened by their name.
"""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import get_origin, get_type_hints

import jax
import numpy as np
from jaxtyping import Float32, Int, Shaped, UInt8
from ml_collections import ConfigDict

from rgbir_jax import stages as known_stages
from rgbir_jax.data.augment import MEAN, STD, denormalise, normalise
from rgbir_jax.errors import UserError
from rgbir_jax.files import write_json
from rgbir_jax.inference import weights
from rgbir_jax.inference.features import extractor
from rgbir_jax.lookup import CONFIG_FOLDER, either, use_config_folder
from rgbir_jax.training import compilation
from rgbir_jax.training.checkpoints import Checkpoints, has_checkpoint
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

PACKAGES = ("rgbir-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
INCLUDED = Path(__file__).parent / "trained"  # a folder per model that comes with the package


@dataclass(frozen=True)
class Facts:
    """What is needed to use a run without its dataset, and where it came from: the content of run.json.

    Attributes:
        people: person_id of each training identity; the place of one is its label.
        image_size: (height, width) of the images in pixels.
        mean: the mean that normalised images have subtracted, by channel, in 0..1.
        std: the standard deviation that they are divided by.
        dataset: the dataset's name in tables; drawn people are named as such.
        fingerprint: the dataset's fingerprint, `data.sources.fingerprint`.
        config_folder: the folder of the config file, from which values that the config names can be imported.
        command: the command line.
        commit: the Git commit of the code; empty if it was not run from a checkout.
        started: the time at which training began.
        versions: versions of the packages.
    """

    people: list[int]
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

    @classmethod
    def now(cls, people: Int[np.ndarray, "n"], config: ConfigDict, dataset: str, fingerprint: str) -> "Facts":
        """Collects the facts of a run that begins now."""
        return cls(
            people=people.tolist(),
            image_size=list(config.image_size),
            mean=MEAN.tolist(),
            std=STD.tolist(),
            dataset=dataset,
            fingerprint=fingerprint,
            config_folder=os.environ.get(CONFIG_FOLDER, ""),
            command=" ".join(sys.orig_argv[1:]),  # sys.argv has the config by its full path
            commit=_commit(),
            started=time.strftime("%Y-%m-%d %H:%M"),
            versions={package: _version(package) for package in PACKAGES},
        )

    def write(self, folder: Path) -> None:
        """Writes run.json into a run's folder."""
        write_json(folder / "run.json", asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Facts":
        """Reads run.json from a run's folder.

        Raises:
            UserError: if it is missing or damaged.
        """
        path = folder / "run.json"
        if not path.is_file():
            raise UserError(f"{path} is missing; the command that trained the run writes it again.")
        values = read_json(path)
        kinds = {name: get_origin(kind) or kind for name, kind in get_type_hints(cls).items()}
        if values.keys() != kinds.keys() or not all(isinstance(values[name], kind) for name, kind in kinds.items()):
            raise UserError(f"{path} is damaged; delete it: the command that trained the run writes it again.")
        return cls(**values)


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A trained run.

    Attributes:
        folder: the run's folder.
        config: the config that it was trained with.
        facts: what run.json holds.
        stages: the stages by name, in the recipe's order; of an exported run those that its features need.
        states: the State that each stage is scored by: the best on validation, otherwise the last.
    """

    folder: Path
    config: ConfigDict
    facts: Facts
    stages: dict[str, Stage]
    states: dict[str, State]

    def __repr__(self) -> str:
        """Names the folder and the stages; the whole config and all weights would fill the screen."""
        return f"Run({self.name!r}, {' -> '.join(self.stages)}, {self.facts.dataset})"

    @property
    def name(self) -> str:
        """What `load` opens the run by: its folder, or the name of a model that comes with the package."""
        return self.folder.name if self.folder.parent == INCLUDED else str(self.folder)

    @property
    def last(self) -> str:
        """The name of the last stage, whose features the run gives."""
        return self.config.recipe[-1]

    def features(
        self, images: Shaped[np.ndarray, "..."], modality: Shaped[np.ndarray, "..."]
    ) -> Float32[np.ndarray, "n dim"]:
        """Computes the features by which images are compared.

        Args:
            images: uint8 [n, height, width, 3], RGB, of the size `facts.image_size`; IR has three equal channels.
            modality: int [n], 0 RGB, 1 IR.

        Returns:
            Unit vectors. The smaller their Euclidean distance, the more likely two images show the same person.

        Raises:
            UserError: for images of another size or type, or modalities that are not 0 or 1, one per image.
            NotFiniteError: if a feature is not finite.
        """
        images, modality = np.asarray(images), np.asarray(modality)
        self._check(images, modality)
        if not len(images):
            return self.features(np.zeros((1, *self.facts.image_size, 3), np.uint8), np.zeros(1, np.int32))[:0]
        states = tuple(self.states[name] for name in chain(self.config))
        return self._extract(states, images.__getitem__, modality.astype(np.int32))

    def swap(
        self, structure: Shaped[np.ndarray, "..."], appearance: Shaped[np.ndarray, "..."]
    ) -> UInt8[np.ndarray, "n height width 3"]:
        """Generates images G(a, s): the persons of some images in the poses and places of others (Figure 3).

        Args:
            structure: uint8 [n, height, width, 3], as in `features`: the images that give s.
            appearance: the same, those that give a.

        Raises:
            UserError: for a run that generates no images, or for images of another size, type or number.
        """
        if not self.stages[self.last].renders:
            raise UserError(f"{self.name} generates no images: its last stage is {self.last}; use an image stage.")
        structure, appearance = np.asarray(structure), np.asarray(appearance)
        self._check_images(structure)
        self._check_images(appearance)
        if len(structure) != len(appearance):
            raise UserError(
                f"there are {len(structure)} images for the structure and {len(appearance)} for the appearance; "
                f"give one of each for every image to generate."
            )
        return np.asarray(self._render(self.states[self.last], structure, appearance))

    def _check(self, images: np.ndarray, modality: np.ndarray) -> None:
        self._check_images(images)
        if modality.shape != (len(images),):
            shape = "x".join(map(str, modality.shape)) or "one number"
            raise UserError(f"there are {len(images)} images and the modalities are {shape}; give [n], one per image.")
        if (wrong := ~np.isin(modality, (0, 1))).any():
            raise UserError(f"a modality is {modality[wrong][0]}; it must be 0 (RGB) or 1 (IR).")

    def _check_images(self, images: np.ndarray) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            shape = "x".join(map(str, images.shape))
            raise UserError(f"the images are {images.dtype} {shape}; give uint8 [n, height, width, 3], RGB in 0..255.")
        if list(images.shape[1:3]) != self.facts.image_size:
            raise UserError(
                f"the images are {'x'.join(map(str, images.shape[1:3]))}, and {self.name} was trained on "
                f"{'x'.join(map(str, self.facts.image_size))} (height x width); resize them."
            )

    @functools.cached_property
    def _extract(self):
        return extractor(tuple(self.stages[name] for name in chain(self.config)))

    @functools.cached_property
    def _render(self):
        render = self.stages[self.last].render
        return jax.jit(lambda state, s, a: denormalise(render(state, normalise(s), normalise(a))))


def load(run: str | os.PathLike) -> Run:
    """Opens a trained run; nothing but its folder is needed.

        run = rgbir_jax.load("runs/quickstart")
        features = run.features(images, modality)  # uint8 [n, 64, 32, 3], int [n] -> unit vectors [n, 128]

    Args:
        run: the run's folder: the --workdir of its training, or what rgbir-export made of it. "drawn" is a model of
            drawn people that comes with the package; for a folder of this name, write "./drawn".

    Raises:
        UserError: if the folder holds no finished run, or one that this version cannot open.
    """
    compilation.prepare()
    folder = INCLUDED / run if str(run) in included() else Path(run).expanduser()
    config = read_config(folder)
    facts = Facts.read(folder)
    use_config_folder(facts.config_folder)
    exported = (folder / weights.FILE).is_file()
    stages: dict[str, Stage] = {}
    states: dict[str, State] = {}
    for name in chain(config) if exported else config.recipe:
        stages[name] = known_stages.build(config, name, len(facts.people))
        if exported:
            states[name] = weights.read(folder / weights.FILE, name, stages[name])
        else:
            shapes = jax.eval_shape(stages[name].init, jax.random.key(0), dict(states))
            states[name] = restore(folder / name, shapes)
    return Run(folder, config, facts, stages, states)


def included() -> tuple[str, ...]:
    """Returns the names of the models that come with the package."""
    return tuple(sorted(folder.name for folder in INCLUDED.iterdir() if folder.is_dir()))


def chain(config: ConfigDict) -> list[str]:
    """Returns the names of the stages that a run's features need: from the one that sees images to the last."""
    names = [config.recipe[-1]]
    while reads := config[names[0]].get("reads", ""):
        names.insert(0, reads)
    return names


def read_config(folder: Path) -> ConfigDict:
    """Reads the config that a run was started with.

    Raises:
        UserError: if nothing was trained in the folder, or if the file is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(
            f"{path} is missing: {folder} holds no run; train one with train.py --config RECIPE --workdir {folder}, "
            f"or load {either(included())}, which comes with the package."
        )
    config = read_json(path)
    if not config.get("recipe"):
        raise UserError(f"{path} has no recipe; copy it from a backup, or train the run again in another folder.")
    return ConfigDict(tuples(config))


def restore(folder: Path, like: State) -> State:
    """Restores the State that a stage is scored by and later stages start from.

    Args:
        folder: the stage's folder.
        like: a State of its shapes.

    Raises:
        UserError: if there is none that can be read, or one of another model.
    """
    if not has_checkpoint(folder):
        raise UserError(f"{folder} has no checkpoint; run train.py with --workdir {folder.parent} first.")
    checkpoints = Checkpoints(folder / "checkpoints")
    _, state = checkpoints.first_intact(checkpoints.best_first(), functools.partial(checkpoints.restore, like=like))
    return state


def read_json(path: Path) -> dict:
    """Reads a JSON file of names and values.

    Raises:
        UserError: if it holds something else.
    """
    try:
        values = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); copy it from a backup, or train the run again.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged; copy it from a backup, or train the run again in another folder.")
    return values


def tuples(value):
    """Turns the lists of JSON into the tuples that a config has."""
    if isinstance(value, dict):
        return {name: tuples(inner) for name, inner in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list | tuple) else value


def flat(tree: dict, prefix: str = "") -> dict:
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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
