"""The quickstart's recipe, longer and with 1,000 training identities, to draw people well.

    make showcase

or, after it has drawn the dataset and trained the judge:

    python train.py --config quickstart/showcase --workdir runs/showcase
    python eval.py --workdir runs/showcase --disentanglement --judge runs/judge --swap_images 96

Presets, as `quickstart/showcase:NAME`: best (the default), paper and dgnet.

Hardware: two CPU cores are enough. 12,000 steps of the teacher, 14,000 of `drawing` and 4,000 of the image system.
Score: see docs/results.md.
"""

from ml_collections import ConfigDict

from configs import quickstart
from configs.common import check_preset


def get_config(preset: str = "best") -> ConfigDict:
    """Returns the recipe of `configs/quickstart/__init__.py` without the control, with more steps."""
    check_preset(preset, ("best", "paper", "dgnet"))
    config = quickstart.small(preset)
    config.data_dir = "data/showcase"
    _teacher(config.teacher)
    config.image.update({"steps": 4_000, "log_every": 50, "evaluate_every": 4_000, "checkpoint_every": 500})
    config.image.pictures_every = 1_000
    config.image.decay.update({"at": (2_000, 3_000, 3_600), "factor": 0.3})
    quickstart.add_drawing(config, steps=14_000)
    return config


def _teacher(teacher: ConfigDict) -> None:
    teacher.update({"steps": 12_000, "evaluate_every": 12_000, "checkpoint_every": 1_000})
    teacher.decay.at = (9_000,)
    # Each of a thousand identities is seen rarely: with the quickstart's rate and dropout the head does not learn them.
    teacher.optimizers.head.learning_rate = 2e-3
    for head in teacher.networks.heads:
        teacher.networks[head].dropout = 0.2
