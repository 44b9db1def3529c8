"""What can be trained: one file per system."""

import functools
import operator

from ml_collections import ConfigDict

from rgbir_jax.lookup import find, named_keys
from rgbir_jax.stages.checks import check_recipe as check_recipe
from rgbir_jax.stages.classifier import Classifier
from rgbir_jax.stages.cmgan import CmGAN
from rgbir_jax.stages.cmpig import CmPIG
from rgbir_jax.stages.cmpig_generation import CmPIGGeneration
from rgbir_jax.stages.deen import Deen
from rgbir_jax.stages.embedding import EmbeddingSystem
from rgbir_jax.stages.embedding_classifier import EmbeddingClassification
from rgbir_jax.stages.hicmd import HiCMD
from rgbir_jax.stages.image import ImageSystem
from rgbir_jax.stages.sdl import SDL
from rgbir_jax.stages.two_stem import TwoStem
from rgbir_jax.stages.two_stream import TwoStream
from rgbir_jax.training.stage import Stage

STAGES: dict[str, type[Stage]] = {
    "classifier": Classifier,
    "image": ImageSystem,
    "two_stream": TwoStream,
    "sdl": SDL,
    "cmpig_generation": CmPIGGeneration,
    "cmpig": CmPIG,
    "cmgan": CmGAN,
    "two_stem": TwoStem,
    "deen": Deen,
    "hicmd": HiCMD,
    "embedding_classifier": EmbeddingClassification,
    "embedding": EmbeddingSystem,
}


def build(config: ConfigDict, name: str, classes: int) -> Stage:
    """Makes the stage of a recipe that `config[name]` describes.

    Args:
        config: the whole recipe; `config[name].stage` is a name in `STAGES` or "package.module:Class".
        name: the stage's name in the recipe.
        classes: the number of training identities.

    Raises:
        UserError: as `check_recipe`, or for a value that is missing or that the stage cannot use.
    """
    check_recipe(config)
    with named_keys(config):
        kind = find(config[name].stage, STAGES, Stage, f"config.{name}.stage")
        stage = kind.build(config, name, classes)
        for key in kind.read_late:
            functools.reduce(operator.getitem, key.split("."), stage.config)
    return stage
