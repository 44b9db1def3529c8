"""cmPIG on SYSU-MM01 (Wang et al., AAAI 2020): twins in the other modality, and a recogniser that should not tell them.

    python train.py --config configs/sysu_cmpig.py --workdir runs/sysu_cmpig --config.data_dir DIR
    python eval.py --workdir runs/sysu_cmpig

`DIR` is the dataset's own tree (README, "Train and score"). Presets, as `configs/sysu_cmpig.py:NAME`:

    paper     the released losses and networks, with the ReLU of ResNet-50's stem and as many iterations as the
              publication says (the default)
    released  without that ReLU, and with six times as many iterations of the first stage, as in the released code

The ResNet starts from ImageNet weights with --config.resnet50 FILE, or from a classifier stage that
config.generation.start_from names. The first stage does not train it, so without either it draws from random content.

Hardware: meant for one accelerator with 16 GB or more. 20,000 steps of the first stage and 10,000 of the second, of 16
identities x 2 modalities x 4 images of 256x128; of three images of three identities, twins of half the size are drawn.
With several devices, config.generation.drawn.identities must be a multiple of their number.
Score: published are rank-1 38.1, mAP 36.9 (all-search, single-shot), 45.1, 29.5 (multi-shot), and 43.8, 52.9 and 52.7,
42.7 (indoor-search). We have no score of this code on the real data yet.
Deviations: the discriminators learn before the other networks, which then play against the new ones; E_sl is fixed as
at test time in the first stage, and only real images of the whole batch move its statistics in the second; twins are
drawn of people of the same batch, from means of four pixels of its images; the features of an image and of its mirror
image are added. Rates and the weight of L_recon are the released code's: the publication has 0.0002 and betas (0.5,
0.999) for all networks, and no L_recon in its sum of losses.
"""

from ml_collections import ConfigDict

from configs import sysu_image
from configs.common import check_preset

PRESETS = ("paper", "released")


def get_config(preset: str = "paper") -> ConfigDict:
    """Returns the recipe with the data of `configs/sysu_image.py`."""
    return cmpig(sysu_image.get_config(), preset)


def cmpig(image: ConfigDict, preset: str) -> ConfigDict:
    """Returns a recipe of two stages, generation and then recognition with generation.

    Args:
        image: the recipe of an image-space system, with whose data it trains.
        preset: one of `PRESETS`.
    """
    check_preset(preset, PRESETS)
    config = ConfigDict({key: value for key, value in image.to_dict().items() if key not in image.recipe})
    config.recipe = ("generation", "cmpig")
    config.batch.update({"identities": 16, "shots": 4})
    config.augment.pad = 0  # images are flipped and not moved
    config.augment.erase.probability = 0.0

    adam = {"kind": "adam", "clip": 0.0}
    gan = adam | {"learning_rate": 1e-4, "b1": 0.5, "b2": 0.999, "l2": 1e-4}
    optimizers = {
        "generation": gan | {"networks": ("style_rgb", "style_ir", "G_rgb", "G_ir")},
        "discrimination": gan | {"networks": ("D_rgb", "D_ir")},
    }
    recognition = adam | {"learning_rate": 4.5e-4, "b1": 0.9, "b2": 0.999, "l2": 5e-4}
    # One weight per term; 0 removes the term and its cost.
    weights = {"L_recon": 10.0, "L_cyc": 10.0, "L_gan": 1.0, "L_feature": 1.0, "L_D": 1.0}
    every = {"log_every": 100, "pictures_every": 5_000, "checkpoint_every": 1_000}

    config.generation = {
        "stage": "cmpig_generation",
        "from_run": "",  # a finished run whose stage of this name is used as it is; empty: train it here
        "start_from": "",  # an earlier classifier stage whose ResNet is used; empty: that of config.resnet50
        "steps": 20_000,  # 100 of cmPIG's epochs of 200
        "networks": {
            "E": {"width": 64, "blocks": (3, 4, 6, 3), "stem_relu": True},
            "style": {"width": 32, "code": 128},
            "G": {"mlp": 256},
            "D": {"width": 32, "num_scales": 2, "init_std": 0.02},
        },
        "drawn": {"identities": 3, "shots": 3},  # of each batch
        "optimizers": optimizers,
        "decay": {"at": (), "factor": 0.1, "warmup": 0},
        "weights": weights,
        "evaluate_every": 0,  # its features do not change
    } | every
    config.cmpig = {
        "stage": "cmpig",
        "from_run": "",
        "start_from": "generation",  # the stage whose networks this one trains further
        "steps": 10_000,
        "networks": {"neck": {"gain_std": 0.0}},
        "optimizers": optimizers | {"recognition": recognition | {"networks": ("E_sl", "E_il", "neck")}},
        "decay": {"at": (6_000,), "factor": 0.1, "warmup": 0},
        "weights": weights | {"L_cls": 1.0, "L_triplet": 1.0, "L_align": 0.01},
        "smoothing": 0.1,  # of the target of L_cls
        "margin": 0.3,  # of L_triplet
        "evaluate_every": 1_000,
    } | every
    if preset == "released":
        _released(config)
    return config


def _released(config: ConfigDict) -> None:
    config.generation.steps = 120_000
    config.generation.networks.E.stem_relu = False
