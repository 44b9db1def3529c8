"""A recogniser of drawn people, trained on people whom no other recipe sees: the judge of generated images.

    make judge

or, after it has drawn the dataset:

    python train.py --config quickstart/judge --workdir runs/judge
    python eval.py --workdir runs/showcase --disentanglement --judge runs/judge

Hardware: two CPU cores are enough.
Score: none. It only says whom a generated image shows.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
    """Returns the quickstart's teacher, on other people."""
    config = quickstart.small()
    config.data_dir = "data/drawn_judge"
    config.recipe = ("teacher",)
    config.teacher.steps = 2000
    config.teacher.evaluate_every = 0
    config.teacher.decay.at = (1500,)
    return config
