"""cmGAN on SYSU-MM01 (Dai et al., IJCAI 2018): features of which a discriminator cannot tell the modality.

    python train.py --config configs/sysu_cmgan.py --workdir runs/sysu_cmgan --config.data_dir DIR
    python eval.py --workdir runs/sysu_cmgan

`DIR` is the dataset's own tree (README, "Train and score"). There are no presets.

Hardware: meant for one accelerator with 16 GB or more. 64,000 steps of 8 identities x 2 modalities x 2 images.
Score: cmPIG's authors quote rank-1 27.0, mAP 27.8 (all-search, single-shot) and 31.7, 42.2 (indoor-search). We have no
score of this code on the real data yet.
Deviations: networks, losses and rates are those of two reimplementations that agree. What neither settles is ours:
triplets are the hardest of a batch, and losses are means over anchors; batches, images, iterations and the drops of the
rates are those of the teacher of `configs/sysu_image.py`. D learns in every iteration, there in each fifth. Momentum is
Nesterov's. The features of an image and of its mirror image are added.
"""

from ml_collections import ConfigDict

from configs import sysu_image


def get_config() -> ConfigDict:
    """Returns a recipe of one stage, with the data, batches and steps of the teacher of `configs/sysu_image.py`."""
    image = sysu_image.get_config()
    teacher = image.teacher
    config = ConfigDict({key: value for key, value in image.to_dict().items() if key not in image.recipe})
    config.recipe = ("cmgan",)
    rule = teacher.optimizers.trunk.to_dict() | {"learning_rate": 1e-4}
    config.cmgan = {
        "stage": "cmgan",
        "steps": teacher.steps,
        "from_run": "",
        "start_from": "",  # an earlier classifier or image stage, from whose ResNet E starts
        "networks": {
            "E": {"width": 64, "blocks": (3, 4, 6, 3), "last_stride": 2},
            "head": {"hidden": (512,)},
            "D": {"hidden": (1000, 500)},
        },
        "optimizers": {
            "features": rule | {"networks": ("E", "head")},
            "discrimination": rule | {"networks": ("D",), "learning_rate": 1e-3},
        },
        "decay": teacher.decay.to_dict(),
        # One weight per term; 0 removes the term and its cost.
        "weights": {"L_id": 1.0, "L_triplet": 1.0, "L_D": 1.0, "L_adv": 0.05},
        "margin": 1.4,  # of L_triplet
        "log_every": teacher.log_every,
        "pictures_every": 0,
        "evaluate_every": teacher.evaluate_every,
        "checkpoint_every": teacher.checkpoint_every,
    }
    return config
