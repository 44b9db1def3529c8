"""M_bdtr on SYSU-MM01 (section 4.1): two ResNet-50 streams, identity loss and top-ranking loss.

    python train.py --config configs/sysu_two_stream.py --workdir runs/sysu_two_stream --config.data_dir DIR
    python eval.py --workdir runs/sysu_two_stream

`DIR` is the dataset's own tree (README, "Train and score"). Presets, as `configs/sysu_two_stream.py:NAME`:

    bdtr      with the bi-directional dual-constrained top-ranking loss (the default)
    baseline  the same without it: a plain two-stream network
    batch32   bdtr with the batches, the image size, the rates and the schedule of the ResNet baseline of BDTR's authors
              (2019): 32 identities with one pair of images each. BDTR itself had 64 and AlexNets. The LeakyReLU of that
              baseline before the classifier is left out, and the crop repeats the image's edges

Hardware: meant for one accelerator with 16 GB or more. 64,000 steps of 8 identities x 2 modalities x 2 images of
256x128, or with `batch32` 42,456 steps of 32 identities x 2 modalities of 288x144.
Score: the paper quotes rank-1 17.01, mAP 19.66 for BDTR (all-search, single-shot, its Table 7), which had AlexNet
streams and 64 identities in a batch. Nearer is its successor eBDTR (TIFS 2020) with ResNet-50 streams, of which we
recall 27.82, 28.42. We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import sysu_image
from configs.common import SYSU_IMAGES, check_preset

PRESETS = {"bdtr": 1.0, "baseline": 0.0, "batch32": 1.0}  # the weight of L_rank


def get_config(preset: str = "bdtr") -> ConfigDict:
    """Returns the recipe with the data of `configs/sysu_image.py`."""
    return two_stream(sysu_image.get_config(), preset, SYSU_IMAGES)


def two_stream(image: ConfigDict, preset: str, images: int) -> ConfigDict:
    """Returns a recipe of one stage, with the data of an image-space system.

    Args:
        image: the recipe of the image-space system. Batches, optimisers and steps are those of its teacher, except with
            `batch32`.
        preset: a key of `PRESETS`.
        images: the number of RGB images of the training identities. An epoch of `batch32` is images // 32 + 1
            iterations, as in published code.
    """
    check_preset(preset, PRESETS)
    teacher = image.teacher
    config = ConfigDict({key: value for key, value in image.to_dict().items() if key not in image.recipe})
    config.recipe = ("two_stream",)
    config.two_stream = {
        "stage": "two_stream",
        "steps": teacher.steps,
        "from_run": "",
        "start_from": "",  # an earlier classifier or image stage, from whose ResNet both streams start
        "networks": {
            "stream": {"width": 64, "blocks": (3, 4, 6, 3), "last_stride": 1},
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
    if preset == "batch32":
        _batch32(config, epoch=images // 32 + 1)
    return config


def _batch32(config: ConfigDict, epoch: int) -> None:
    config.batch.update({"identities": 32, "shots": 1})
    config.image_size = (288, 144)
    config.augment.erase.probability = 0.0
    stage = config.two_stream
    stage.networks.stream.last_stride = 2
    stage.optimizers.trunk.learning_rate = 0.001
    stage.optimizers.head.learning_rate = 0.01
    stage.steps = 61 * epoch
    stage.decay.at = (30 * epoch, 60 * epoch)
