"""Hi-CMD (Choi et al., CVPR 2020) on SYSU-MM01, at full size: a row of Table 7.

    python train.py --config configs/sysu_hicmd.py --workdir runs/sysu_hicmd --config.data_dir DIR
    python eval.py --workdir runs/sysu_hicmd

`DIR` is the dataset's own tree (README, "Train and score"). Presets, as `configs/sysu_hicmd.py:NAME`:

    paper     the losses of the released code, on 8 identities with a pair of images each; the other identities of the
              batch are the negatives (the default). An iteration has four times as many pairs as the released code's,
              so there are a quarter as many.
    released  the batches of the released code: of 6 identities 2 give pairs, 2 an RGB and 2 an IR image as negatives

Sources: the abstract and the introduction of the paper, and facts of the released code (no part of it is used). The
weights in the paper itself were not read. Where this differs from the released code:

  - One pass of G serves the discriminators and all else. D sees a real image once with twice the weight.
  - Only whole real images move the running statistics of E_t, and only real images those of recognition. Generated
    images and mixtures are normalised by their own batches.
  - Every third identity of a `released` batch gives a pair; batches are in random order, so it could be any two of six.
  - Retrieval adds the features of an image and of its mirror image. The released code makes the mirror image and does
    not use it.
  - Identities of a batch come from a permutation of all of them.
  - L_CE is the mean over all samples.
  - The best checkpoint on the validation identities is scored.

Hardware: meant for one accelerator with 16 GB or more: 50,000 steps of 8 pairs of 256x128, or with `released` 200,000
steps of 2 pairs and 4 negatives. `released` cannot be divided among more than 2 devices.
Score: the authors print rank-1 34.94, rank-10 77.58, rank-20 88.38, mAP 35.94 (all-search, single-shot; Table 7 of the
paper quotes it), trained on 296 identities as here. We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import sysu_image
from configs.common import check_preset

PRESETS = ("paper", "released")


def get_config(preset: str = "paper") -> ConfigDict:
    """Returns the recipe with the data of `configs/sysu_image.py`, and its split of 296 training identities."""
    config = hicmd(sysu_image.get_config(), preset, steps=200_000)
    config.train_split = "train"
    return config


def hicmd(image: ConfigDict, preset: str, steps: int) -> ConfigDict:
    """Returns a recipe of one stage, with the data of an image-space system.

    Args:
        image: the recipe of the image-space system.
        preset: one of `PRESETS`.
        steps: the iterations with the batches of the released code; the rates are halved after each quarter of them.
    """
    check_preset(preset, PRESETS)
    config = ConfigDict({key: value for key, value in image.to_dict().items() if key not in image.recipe})
    config.recipe = ("hicmd",)
    config.batch = {"identities": 8, "shots": 1, "parts": 1}
    config.augment = {"pad": 0, "erase": {"probability": 0.5, "area": (0.02, 0.4), "aspect": (0.3, 3.33)}}

    adam = {"kind": "adam", "learning_rate": 1e-4, "b1": 0.5, "b2": 0.999, "l2": 1e-4, "clip": 0.0}
    sgd = {"kind": "sgd", "learning_rate": 1e-3, "momentum": 0.9, "l2": 1e-4, "clip": 0.0}
    encoders = ("E_p_rgb", "E_p_ir", "E_t_rgb", "E_t_ir")
    resnet50 = {"width": 64, "blocks": (3, 4, 6, 3)}
    config.hicmd = {
        "stage": "hicmd",
        "from_run": "",
        "start_from": "",  # an earlier classifier or image stage, from whose ResNet E_t and HFL start
        "steps": steps // 4,  # an iteration has four times as many pairs as one of the released code
        "networks": {
            "E_p": {"width": 32, "code": 256},  # prototype encoders
            "E_t": resnet50 | {"last_stride": 2},  # attribute encoders
            "G": {"mlp": 512},
            "D": {"width": 32, "num_scales": 3, "init_std": 0.02},
            "HFL": resnet50,  # its second and third stage
            "head": {"bottleneck": 2048, "triplet": 1024, "dropout": 0.5},
        },
        "optimizers": {
            "generation": adam | {"networks": (*encoders, "G")},
            "discrimination": adam | {"networks": ("D_rgb", "D_ir")},
            "recognition": sgd | {"networks": ("HFL", "head")},
            "mixture": sgd | {"networks": ("w",), "learning_rate": 1e-5},
        },
        "decay": {"at": _quarters(steps // 4), "factor": 0.5, "warmup": 0},
        # One weight per term; 0 removes the term and its cost.
        "weights": {
            "L_same": 50.0,
            "L_cross": 50.0,
            "L_cycle": 50.0,
            "L_code": 10.0,
            "L_kl": 1.0,
            "L_adv": 20.0,
            "L_D": 20.0,
            "L_R1": 0.4,  # 20 x 0.01, for both generated images of a modality
            "L_CE": 1.0,
            "L_trip": 1.0,
        },
        "margin": 0.5,  # of L_trip
        "negatives": "pairs",  # or "unpaired": of three identities, only the first gives pairs
        "log_every": 100,
        "pictures_every": 5_000,
        "evaluate_every": 5_000,
        "checkpoint_every": 1_000,
    }
    if preset == "released":
        _released(config, steps)
    return config


def _released(config: ConfigDict, steps: int) -> None:
    config.batch.identities = 6
    config.hicmd.update({"negatives": "unpaired", "steps": steps})
    config.hicmd.decay.at = _quarters(steps)


def _quarters(steps: int) -> tuple[int, ...]:
    return tuple(quarter * steps // 4 for quarter in (1, 2, 3))
