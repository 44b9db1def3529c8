"""What can be trained: one file a stage."""

from ml_collections import ConfigDict

from rgbir_jax.stages import classifier, embedding, image, two_stream
from rgbir_jax.training.stage import Stage

_BUILDERS = {
    "classifier": classifier.build,
    "image": image.build,
    "two_stream": two_stream.build,
    "embedding_classifier": embedding.build_classifier,
    "embedding": embedding.build,
}


def build(config: ConfigDict, name: str, classes: int) -> Stage:
    """The stage of a recipe that `config[name]` describes.

    Args:
        config: the whole recipe.
        name: of the stage in it.
        classes: training identities.

    Raises:
        ValueError: where the config has no such section, or its `stage` is of no known kind.
    """
    if name not in config:
        raise ValueError(f'the recipe names a stage "{name}", but the config has no section config.{name}.')
    kind = config[name].stage
    if kind not in _BUILDERS:
        raise ValueError(f'config.{name}.stage "{kind}" is unknown; choose one of {", ".join(_BUILDERS)}.')
    return _BUILDERS[kind](config, name, classes)
