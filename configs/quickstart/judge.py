"""A recogniser of drawn people, trained on people whom no other recipe sees: the judge of generated images.

    make judge

or, after it has drawn the dataset:

    python train.py --config quickstart/judge --workdir runs/judge
    python eval.py --workdir runs/showcase --disentanglement --judge runs/judge

Hardware: two CPU cores are enough. 12,000 steps of the teacher.
Score: none. It only says whom a generated image shows.
"""

from ml_collections import ConfigDict

from configs.quickstart import showcase


def get_config() -> ConfigDict:
    """Returns the showcase's teacher, on 1,000 other people."""
    config = showcase.get_config()
    config.data_dir = "data/drawn_judge"
    config.recipe = ("teacher",)
    config.teacher.evaluate_every = 0
    return config
