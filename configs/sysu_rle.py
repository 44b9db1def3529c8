"""RLE on SYSU-MM01 (Tan et al., NeurIPS 2024): random linear changes of the channels, and body parts.

    python train.py --config configs/sysu_rle.py --workdir runs/sysu_rle --config.data_dir DIR
    python eval.py --workdir runs/sysu_rle

`DIR` is the dataset's own tree (README, "Train and score"). Presets, as `configs/sysu_rle.py:NAME`:

    rle   half of the images get one random mixture of their channels in all three, and half of them get rectangles
          whose channels are scaled, each by a factor of its own, because a change of the spectrum multiplies each
          material by its own factor (the default)
    base  without these two; --config.rle.channels.mix and --config.rle.channels.scale have each by itself

The mean of the feature map and those of its top, middle and bottom have BN necks of their own. It starts from ImageNet
weights: --config.resnet50 FILE, torchvision's ResNet-50. The networks, losses and rates are those of the released code.
It differs as `configs/sysu_agw.py` says, and besides, at most 16 rectangles of an image are scaled, not 100. The paper
does not say with which weights its table compares features before and after BatchNorm; `similarity` has those of the
last score that the released test prints. eval.py also scores either kind by itself.

Hardware: meant for one accelerator with 16 GB or more: 6 identities x 2 modalities x 4 images of 384x192, 140,128
steps.
Score: published with the gallery draw `agw`, which is this recipe's protocol, are rank-1 75.4, mAP 72.4 (all-search,
single-shot) and 84.7, 87.0 (indoor-search), quoted from a survey. We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import sysu_image
from configs.common import SYSU_IMAGES, check_preset
from configs.two_stem import NEAR_MEAN, two_stem

PRESETS = {"rle": 0.5, "base": 0.0}  # the probability of either change of the channels


def get_config(preset: str = "rle") -> ConfigDict:
    """Returns the recipe with the data of `configs/sysu_image.py`."""
    config = rle(sysu_image.get_config(), preset, SYSU_IMAGES)
    config.protocol = "agw"
    return config


def rle(image: ConfigDict, preset: str, images: int) -> ConfigDict:
    """Returns a recipe of one stage, with the data of an image-space system.

    Args:
        image: the recipe of the image-space system.
        preset: a key of `PRESETS`.
        images: the number of RGB images of the training identities.
    """
    check_preset(preset, PRESETS)
    config = two_stem(image, "rle", images=images, identities=6, epochs=151, drops=(20, 80, 120), image_size=(384, 192))
    config.augment.erase.fill = NEAR_MEAN
    config.rle.networks.pool = "parts"
    config.rle.optimizers.head.networks = ("neck", "neck_1", "neck_2", "neck_3")
    config.rle.channels.update({"mix": PRESETS[preset], "scale": PRESETS[preset]})
    config.rle.weights.update({"L_id_part": 1.0, "L_tri_part": 1.0})
    config.rle.similarity.update({"neck": 0.2, "pooled": 0.8})
    return config
