"""DEEN on SYSU-MM01 (Zhang and Wang, CVPR 2023): stages that attend to the one before, and expanded embeddings.

    python train.py --config configs/sysu_deen.py --workdir runs/sysu_deen --config.data_dir DIR
    python eval.py --workdir runs/sysu_deen

`DIR` is the dataset's own tree (README, "Train and score"). Presets, as `configs/sysu_deen.py:NAME`:

    deen   the system (the default)
    plain  without the two losses of the expanded embeddings

It starts from ImageNet weights: --config.resnet50 FILE, torchvision's ResNet-50. Half of the images are made grey. The
networks, losses and rates are those of the released code; a third drop of the rates that this code writes but never
reaches is left out. The number of epochs is RLE's. It differs as `configs/sysu_agw.py` says.

Hardware: meant for one accelerator with 24 GB or more: 6 identities x 2 modalities x 4 images of 384x144, 140,128
steps.
Score: published with the gallery draw `agw`, which is this recipe's protocol, are rank-1 74.70, mAP 71.80 (all-search,
single-shot) and 80.30, 83.30 (indoor-search), quoted from a survey. We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import sysu_image
from configs.common import SYSU_IMAGES, check_preset
from configs.two_stem import two_stem

PRESETS = {"deen": (0.8, 0.01), "plain": (0.0, 0.0)}  # the weights of L_cpm and L_ort


def get_config(preset: str = "deen") -> ConfigDict:
    """Returns the recipe with the data of `configs/sysu_image.py`."""
    config = deen(sysu_image.get_config(), preset, SYSU_IMAGES)
    config.protocol = "agw"
    config.augment.erase.area = (0.2, 0.8)
    return config


def deen(image: ConfigDict, preset: str, images: int) -> ConfigDict:
    """Returns a recipe of one stage, with the data of an image-space system.

    Args:
        image: the recipe of the image-space system.
        preset: a key of `PRESETS`.
        images: the number of RGB images of the training identities.
    """
    check_preset(preset, PRESETS)
    config = two_stem(image, "deen", images=images, identities=6, epochs=151, drops=(20, 80), image_size=(384, 144))
    config.augment.erase.fill = (0.485, 0.456, 0.406)
    stage = config.deen
    stage.stage = "deen"
    stage.channels.grey = 0.5
    del stage.networks.pool
    stage.networks.dropout = 0.01
    L_cpm, L_ort = PRESETS[preset]
    stage.weights = {"L_id": 1.0, "L_tri": 1.0, "L_wrt": 0.0, "L_esd": 0.0, "L_cpm": L_cpm, "L_ort": L_ort}
    stage.pair_margin = 0.2  # of L_cpm
    stage.similarity.update({"neck": 0.5, "pooled": 0.5})
    return config
