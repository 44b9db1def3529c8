"""A config file for train.py: a tiny version of the quickstart's recipe for the dataset of the fixture `drawn`."""

from ml_collections import ConfigDict

from configs.quickstart import add_control
from tests.tiny import tiny_config


def get_config(stages: str = "teacher,image") -> ConfigDict:
    """Returns a recipe of a few iterations of the given stages."""
    config = tiny_config()
    config.source = "memory"
    config.image_size = (64, 32)
    config.teacher.update({"steps": 6, "log_every": 2, "evaluate_every": 3, "checkpoint_every": 3})
    config.image.update({"steps": 4, "log_every": 2, "evaluate_every": 2, "checkpoint_every": 2, "pictures_every": 2})
    config.image.ramp.start = 1  # the late losses start between two iterations
    for term in config.image.ramp.slope:
        config.image.ramp.slope[term] = 0.3
    add_control(config)
    config.recipe = tuple(stages.split(","))
    return config
