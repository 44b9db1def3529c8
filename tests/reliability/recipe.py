"""A config file for train.py: all kinds of stages, narrow and short, with a checkpoint every few iterations."""

from ml_collections import ConfigDict

from configs.quickstart import embedding
from tests.tiny import tiny_config

SYSTEMS = {
    "teacher": ("teacher",),
    "image": ("teacher", "image"),
    "embedding": ("two_stream", "embedding_classifier", "embedding"),
}
STEPS = {"teacher": 24, "image": 24, "two_stream": 24, "embedding_classifier": 240, "embedding": 240}
SAVES = 6  # checkpoints of each stage


def get_config(system: str) -> ConfigDict:
    """Returns the recipe of one of `SYSTEMS`."""
    config = tiny_config()
    if system == "embedding":
        config = embedding.get_config()
        config.batch.identities = 4
        config.two_stream.networks.stream.update({"width": 4, "blocks": (1, 1, 1, 1)})
        config.two_stream.networks.head.bottleneck = 8
        config.embedding_classifier.networks.classifier.hidden = 8
        config.embedding.networks.E.hidden, config.embedding.networks.D.hidden = (8, 8), (8,)
    config.recipe = SYSTEMS[system]
    for name in config.recipe:
        every = STEPS[name] // SAVES
        config[name].update({"steps": STEPS[name], "log_every": 1, "checkpoint_every": every})
        config[name].update({"evaluate_every": 2 * every, "pictures_every": every})
    return config
