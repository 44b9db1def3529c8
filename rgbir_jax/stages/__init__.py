"""What can be trained: one file per system."""

from ml_collections import ConfigDict

from rgbir_jax.errors import UserError
from rgbir_jax.lookup import choose, find
from rgbir_jax.stages.classifier import Classifier
from rgbir_jax.stages.embedding import EmbeddingSystem
from rgbir_jax.stages.embedding_classifier import EmbeddingClassification
from rgbir_jax.stages.image import ImageSystem
from rgbir_jax.stages.two_stream import TwoStream
from rgbir_jax.training.stage import Stage

DTYPES = ("bfloat16", "float32", "float64")
STAGES: dict[str, type[Stage]] = {
    "classifier": Classifier,
    "image": ImageSystem,
    "two_stream": TwoStream,
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
        UserError: if the config has no such section, or for a value that the stage cannot use.
    """
    if name not in config:
        raise UserError(f'the recipe names a stage "{name}", but the config has no section config.{name}.')
    choose(config.dtype, DTYPES, "config.dtype")
    return find(config[name].stage, STAGES, f"config.{name}.stage").build(config, name, classes)
