"""A trained run, opened from its folder only: config, classes, stages and their states.

Some models of drawn people come with the package and are opened by their name.
"""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from ml_collections import ConfigDict

from rgbir_jax import origin
from rgbir_jax import stages as known_stages
from rgbir_jax.errors import UserError
from rgbir_jax.inference import weights
from rgbir_jax.inference.features import extractor, swap
from rgbir_jax.lookup import use_config_folder
from rgbir_jax.origin import INCLUDED, Facts, included
from rgbir_jax.training import compilation
from rgbir_jax.training.checkpoints import Checkpoints, has_checkpoint
from rgbir_jax.training.processes import say
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State


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
    def people(self) -> list[str]:
        """The names of the persons who trained, by label; their numbers if the dataset has no names."""
        return self.facts.names or [str(number) for number in self.facts.people]

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
        return jax.jit(functools.partial(swap, self.stages[self.last]))


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
    for sentence in origin.lost(folder).values():
        say(sentence)
    config, facts = origin.read_config(folder), Facts.read(folder)
    use_config_folder(facts.config_folder)
    exported = (folder / weights.FILE).is_file()
    stages: dict[str, Stage] = {}
    states: dict[str, State] = {}
    with origin.complete(folder, config, facts):
        for name in chain(config) if exported else config.recipe:
            stages[name] = known_stages.build(config, name, len(facts.people))
            if exported:
                states[name] = weights.read(folder / weights.FILE, name, stages[name])
            else:
                shapes = jax.eval_shape(stages[name].init, jax.random.key(0), dict(states))
                states[name] = restore(folder / name, shapes)
                _compare(folder / name, config, stages[name], states)
    if not exported and (silent := [name for name in stages if not origin.origin_of(folder / name)]):
        say(
            f"{folder}: the checkpoints of {', '.join(silent)} do not say what they were trained from, as an older "
            f"version wrote them; it is not compared."
        )
    return Run(folder, config, facts, stages, states)


def _compare(stage_folder: Path, config: ConfigDict, stage: Stage, states: dict[str, State]) -> None:
    """Prints in what a stage's origin differs from the rest of the run.

    Raises:
        UserError: if it reads an earlier stage that now gives other features than those that it learned from.
    """
    name, before = stage_folder.name, origin.origin_of(stage_folder)
    if not before:
        return
    here, there = (origin.flat_of_stage(some, name) for some in (config.to_dict(), before["config"]))
    if not config[name].from_run and (keys := origin.other_keys(there, here)):
        say(
            f"{stage_folder} was trained with config.{keys[0]} = {there.get(keys[0])}, and {stage_folder.parent} has "
            f"{here.get(keys[0])}: its scores are those of the config that it was trained with."
        )
    for other, sentence in origin.other_earlier(stage_folder, origin.earlier_of(stage, states)).items():
        if other == stage.reads:
            raise UserError(
                f"{sentence}, whose features are other ones; put the former one back, or, if its checkpoint is "
                f"damaged, train it again with the command of the run."
            )
        say(f"{sentence}. The features of {name} do not depend on it; scores of {other} are those of the new one.")


def chain(config: ConfigDict) -> list[str]:
    """Returns the names of the stages that a run's features need: from the one that sees images to the last."""
    names = [config.recipe[-1]]
    while reads := config[names[0]].get("reads", ""):
        names.insert(0, reads)
    return names


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
