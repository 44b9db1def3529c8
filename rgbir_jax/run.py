"""A trained run, opened from its folder only: config, classes, stages and their states.

Some models of drawn people come with the package and are opened by their name.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from jaxtyping import Float32, Int32, UInt8
from ml_collections import ConfigDict
from PIL import Image

from rgbir_jax import origin
from rgbir_jax import stages as known_stages
from rgbir_jax.data.augment import denormalise, normalise
from rgbir_jax.data.given_images import (
    Given,
    GivenImage,
    GivenModality,
    decoded,
    given_images,
    has_equal_channels,
    is_one,
    modality_numbers,
)
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import thresholds
from rgbir_jax.evaluation.thresholds import Thresholds
from rgbir_jax.inference import weights
from rgbir_jax.inference.features import BATCH, extractor, swap
from rgbir_jax.inference.gradcam import PairMaps, explainer
from rgbir_jax.inference.image_features import Features, feature_blocks
from rgbir_jax.lookup import expanded, use_config_folder
from rgbir_jax.origin import INCLUDED, Facts, included
from rgbir_jax.stages.figures import STEPS
from rgbir_jax.training import compilation
from rgbir_jax.training.checkpoints import Checkpoints, fingerprint, has_checkpoint
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
    def is_exported(self) -> bool:
        """Whether rgbir-export made its folder: its weights do not say of which iteration they are."""
        return (self.folder / weights.FILE).is_file()

    @property
    def last(self) -> str:
        """The name of the last stage, whose features the run gives."""
        return self.config.recipe[-1]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that differ for runs with other features: those of two runs cannot be compared."""
        weights_used = {name: (self.states[name].params, self.states[name].batch_stats) for name in chain(self.config)}
        return fingerprint({"image_size": np.array(self.facts.image_size), "weights": weights_used})

    def features(self, images: Given, modality: GivenModality = None) -> Features:
        """Computes the features by which images are compared.

        Images of any size are resized. Those that cannot be read are left out, named and counted on stderr.

        Args:
            images: a file, a folder, a pattern such as "people/*.png", a Pillow image, an array uint8
                [n, height, width, 3] or [height, width, 3] in RGB, or several of these.
            modality: "rgb" or 0, "ir" or 1; one for all images or one per image. If it is not given, images with
                three equal channels are taken as IR and all others as RGB, which is printed on stderr.

        Returns:
            Unit vectors, float32 [n, dim], with the `paths` of their images. The smaller their Euclidean distance, the
            more likely two images show the same person.

        Raises:
            UserError: for a path that is not there, an array of another kind, modalities that are not those above, or
                if no image can be read.
            NotFiniteError: if a feature is not finite.
        """
        skipped: list[str] = []
        blocks = list(self.feature_blocks(given_images(images), modality, skipped))
        if skipped and not blocks:
            raise UserError(f"none of the {len(skipped):,} images can be read; the first: {skipped[0]}")
        if not blocks:
            black = np.zeros((1, *self._size, 3), np.uint8), np.zeros(1, np.int32)
            blocks = [Features.of(self._vectors(*black)[:0], (), black[1][:0], self.fingerprint)]
        features = Features.joined(blocks)
        features.skipped = tuple(skipped)
        return features

    def feature_blocks(
        self, images: Sequence[GivenImage], modality: GivenModality, skipped: list[str]
    ) -> Iterator[Features]:
        """Computes the features of any number of images, some hundred at a time; see `features`.

        Args:
            images: what `given_images` gives.
            modality: see `features`.
            skipped: a list to which a sentence about each image that cannot be read is added.
        """
        known = modality_numbers(modality, len(images))
        return feature_blocks(self._vectors, images, self._size, known, self.fingerprint, skipped)

    def structure(self, images: Given) -> Float32[np.ndarray, "n *s"]:
        """Computes the structure codes s of images: their pose and place, without colours.

        Args:
            images: see `features`.

        Returns:
            One code per image. It is a map [height, width, code] with a quarter of the image's height and width; of
            Hi-CMD it is the pose [slices, channels].

        Raises:
            UserError: for a run without structure codes, or for an image that cannot be read.
        """
        self.check_generates()
        return self._in_batches(self._encode, self._read(images))

    @overload
    def swap(
        self, structure: str | os.PathLike | Image.Image, appearance: str | os.PathLike | Image.Image
    ) -> Image.Image: ...
    @overload
    def swap(self, structure: Given, appearance: Given) -> Any: ...
    def swap(self, structure: Given, appearance: Given):
        """Generates images G(a, s): the persons of some images in the poses and places of others (Figure 3).

        Args:
            structure: the images that give s, as in `features`.
            appearance: those that give a, as many.

        Returns:
            Of one image each (a path, a Pillow image or an array [height, width, 3]) a Pillow image; of several
            uint8 [n, height, width, 3].

        Raises:
            UserError: for a run that generates no images, images that cannot be read or of another type, or another
                number of them.
        """
        self.check_generates()
        structures, appearances = self._read(structure), self._read(appearance)
        if len(structures) != len(appearances):
            raise UserError(
                f"there are {len(structures)} images for the structure and {len(appearances)} for the appearance; "
                f"give one of each for every image to generate."
            )
        generated = self._in_batches(self._render, structures, appearances)
        return Image.fromarray(generated[0]) if is_one(structure) and is_one(appearance) else generated

    def threshold(self, fpr: float) -> float:
        """Returns the distance of features up to which two images are taken for the same person.

        It was found on validation identities, between the kinds of images that the protocol compares, such as infrared
        and RGB.

        Args:
            fpr: the share of the pairs of two persons that it may accept, such as 1e-3. A lower tabulated rate, at
                least half of this one, can take its place.

        Raises:
            UserError: if no thresholds were found, if they are of another iteration, or if there were too few pairs
                for this rate.
        """
        return self.thresholds().at(fpr)

    def thresholds(self) -> Thresholds:
        """Reads the thresholds that were found when the run was scored.

        Raises:
            UserError: if there are none, or if they are of another iteration.
        """
        path = self.folder / thresholds.FILE
        find = f"eval.py --workdir {self.folder} finds them"
        if not path.is_file():
            raise UserError(
                f"{self.name} has no thresholds: {find} on validation identities, which the recipe must keep out of "
                f'training (config.train_split = "train"), and rgbir-export takes them along.'
            )
        found, steps = Thresholds.read(path), int(self.states[self.last].step)
        if not self.is_exported and (found.stage, found.steps) != (self.last, steps):
            raise UserError(
                f"{path} is of iteration {found.steps} of {found.stage}, and the run is now at iteration {steps} of "
                f"{self.last}; {find} again."
            )
        return found

    def explain(
        self,
        query: Given,
        gallery: Given,
        query_modality: GivenModality = None,
        gallery_modality: GivenModality = None,
    ) -> PairMaps:
        """Computes where in two images the evidence lies that they show the same person (Grad-CAM).


        Args:
            query: the first image of each pair, as in `features`.
            gallery: the second, as many.
            query_modality: see `features`; if it is not given, images with three equal channels are taken as IR.
            gallery_modality: the same.

        Returns:
            Two maps of each pair, `query` and `gallery`, each float32 [n, height, width] in 0..1.

        Raises:
            UserError: for a run whose features come from no feature map, for images or modalities as in `features`, or
                if the numbers of images differ.
            NotFiniteError: if a map is not finite.
        """
        self.check_explains()
        images = self._read(query), self._read(gallery)
        if len(images[0]) != len(images[1]):
            raise UserError(
                f"there are {len(images[0])} query images and {len(images[1])} gallery images; give one of each for "
                f"every pair."
            )
        if not len(images[0]):
            return PairMaps(*(np.zeros(side.shape[:3], np.float32) for side in images))
        modality = tuple(map(_known_or_guessed, (query_modality, gallery_modality), images))
        states = tuple(self.states[name] for name in chain(self.config))
        return self._explain(states, images, modality)

    def interpolate(
        self, structure: Given, start: Given, end: Given, steps: int = STEPS
    ) -> UInt8[np.ndarray, "n steps height width 3"]:
        """Generates images from one appearance to another: G((1 - w) a_start + w a_end, s), w from 0 to 1.

        Args:
            structure: the images that give s, as in `features`.
            start: those that give the first appearance, as many.
            end: those that give the last appearance, as many.
            steps: the number of images from the first to the last appearance, at least 2.

        Raises:
            UserError: as `swap`, or for another number of steps.
        """
        self.check_generates()
        if steps < 2:
            raise UserError(f"an interpolation has 2 steps or more, and not {steps}.")
        images = [self._read(given) for given in (structure, start, end)]
        if len(counts := {len(some) for some in images}) > 1:
            raise UserError(f"there are {sorted(counts)} images for structure, start and end; give as many of each.")
        return self._in_batches(functools.partial(self._interpolate, steps=steps), *images)

    def check_generates(self) -> None:
        """Raises the UserError of `swap` for a run that generates no images."""
        if not self.stages[self.last].renders:
            raise UserError(f"{self.name} generates no images: its last stage is {self.last}; use an image stage.")

    def check_explains(self) -> None:
        """Raises the UserError of `explain` for a run whose features come from no feature map."""
        first, *_ = chain(self.config)
        if not self.stages[first].has_feature_map:
            raise UserError(
                f"{self.name} has no activation maps: the features of its stage {first} are not pooled from a feature "
                f"map; use a classifier, image, two-stream or two-stem stage, or override feature_map in your own."
            )

    @property
    def _size(self) -> tuple[int, int]:
        height, width = self.facts.image_size
        return height, width

    def _read(self, images: Given) -> UInt8[np.ndarray, "n height width 3"]:
        """Reads images at the run's size; raises a UserError for one that cannot be read."""
        pixels = np.zeros((len(listed := given_images(images)), *self._size, 3), np.uint8)
        for place, result in enumerate(decoded(listed, self._size)):
            if isinstance(result, UserError):
                raise result
            pixels[place] = result
        return pixels

    def _vectors(
        self, images: UInt8[np.ndarray, "n height width 3"], modality: Int32[np.ndarray, "n"]
    ) -> Float32[np.ndarray, "n dim"]:
        states = tuple(self.states[name] for name in chain(self.config))
        return self._extract(states, images.__getitem__, modality)

    def _in_batches(self, compiled: Callable, *images: UInt8[np.ndarray, "n height width 3"]) -> np.ndarray:
        """Computes something of corresponding images, `BATCH` at a time; the last ones are repeated to as many."""
        if not (count := len(images[0])):
            return self._in_batches(compiled, *(np.zeros((1, *some.shape[1:]), np.uint8) for some in images))[:0]
        parts = []
        for start in range(0, count, BATCH):
            places = np.resize(np.arange(start, min(start + BATCH, count)), min(BATCH, count))
            parts.append(np.asarray(compiled(self.states[self.last], *(some[places] for some in images))))
        return np.concatenate(parts)[:count]

    @functools.cached_property
    def _extract(self):
        return extractor(tuple(self.stages[name] for name in chain(self.config)))

    @functools.cached_property
    def _explain(self):
        return explainer(tuple(self.stages[name] for name in chain(self.config)))

    @functools.cached_property
    def _render(self):
        return jax.jit(functools.partial(swap, self.stages[self.last]))

    @functools.cached_property
    def _interpolate(self):
        interpolate = self.stages[self.last].interpolate

        def generate(state, s, start, end, steps):
            return denormalise(interpolate(state, normalise(s), normalise(start), normalise(end), steps))

        return jax.jit(generate, static_argnames="steps")

    @functools.cached_property
    def _encode(self):
        codes = self.stages[self.last].codes
        return jax.jit(lambda state, images: codes(state, normalise(images))[1])


def load(run: str | os.PathLike) -> Run:
    """Opens a trained run; nothing but its folder is needed.

        run = rgbir_jax.load("runs/quickstart")
        features = run.features("people")  # a folder of images -> unit vectors [n, 128]

    Args:
        run: the run's folder: the --workdir of its training, or what rgbir-export made of it. "drawn" is a model of
            drawn people that comes with the package; for a folder of this name, write "./drawn".

    Raises:
        UserError: if the folder holds no finished run, or one that this version cannot open.
    """
    compilation.prepare()
    folder = INCLUDED / run if str(run) in included() else expanded(run)
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


def _known_or_guessed(modality: GivenModality, images: UInt8[np.ndarray, "n height width 3"]) -> Int32[np.ndarray, "n"]:
    known = modality_numbers(modality, len(images))
    return has_equal_channels(images).astype(np.int32) if known is None else known


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
