"""M_bdtr on SYSU-MM01 (section 4.1): two ResNet-50 streams, identity loss and top-ranking loss.

    python train.py --config configs/sysu_two_stream.py --workdir runs/sysu_two_stream --config.data_dir DIR
    python eval.py --workdir runs/sysu_two_stream

`DIR` is the dataset's own tree (README, "Train and score"). Presets, as `configs/sysu_two_stream.py:NAME`:

    bdtr      with the bi-directional dual-constrained top-ranking loss (the default)
    baseline  the same without it: a plain two-stream network

Hardware: meant for one accelerator with 16 GB or more. 64,000 steps of 8 identities x 2 modalities x 2 images.
Score: the paper quotes rank-1 17.01, mAP 19.66 for BDTR (all-search, single-shot, its Table 7), which had AlexNet
streams. We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import sysu_image
from configs.common import check_preset

PRESETS = {"bdtr": 1.0, "baseline": 0.0}  # the weight of L_rank


def get_config(preset: str = "bdtr") -> ConfigDict:
    """Returns the recipe with the data of `configs/sysu_image.py`."""
    return two_stream(sysu_image.get_config(), preset)


def two_stream(image: ConfigDict, preset: str) -> ConfigDict:
    """Returns a recipe of one stage, with the data, batches, optimisers and steps of an image-space system's teacher.

    Args:
        image: the recipe of the image-space system.
        preset: a key of `PRESETS`.
    """
    check_preset(preset, PRESETS)
    teacher = image.teacher
    config = ConfigDict({key: value for key, value in image.to_dict().items() if key not in image.recipe})
    config.recipe = ("two_stream",)
    config.two_stream = {
        "stage": "two_stream",
        "steps": teacher.steps,
        "from_run": "",
        "networks": {
            "stream": {"width": 64, "blocks": (3, 4, 6, 3)},
            "head": {"bottleneck": 512, "dropout": 0.0},
        },
        "optimizers": {
            "trunk": teacher.optimizers.trunk.to_dict() | {"networks": ("rgb", "ir")},
            "head": teacher.optimizers.head.to_dict(),
        },
        "decay": teacher.decay.to_dict(),
        # One weight per term; 0 removes the term and its cost.
        "weights": {"L_id": 1.0, "L_rank": PRESETS[preset]},
        # m1: margin to the hardest negative; m2: margin within a modality; intra: weight of the term with m2.
        "ranking": {"m1": 0.5, "m2": 0.1, "intra": 0.1},
        "log_every": teacher.log_every,
        "pictures_every": 0,
        "evaluate_every": teacher.evaluate_every,
        "checkpoint_every": teacher.checkpoint_every,
    }
    return config
