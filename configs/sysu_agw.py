"""AGW on SYSU-MM01 (Ye et al., TPAMI 2021), and the baseline of the same paper.

    python train.py --config configs/sysu_agw.py --workdir runs/sysu_agw --config.data_dir DIR
    python eval.py --workdir runs/sysu_agw

`DIR` is the dataset's own tree (README, "Train and score"). Presets, as `configs/sysu_agw.py:NAME`:

    agw   non-local attention, generalised-mean pooling, weighted regularised triplet loss (the default)
    base  without the first, with average pooling and the batch-hard triplet loss

Both start from ImageNet weights: --config.resnet50 FILE, torchvision's ResNet-50. Without the file they start from
random weights, which hurts a two-stem network most, because each stem sees one modality.

The networks, losses and rates are those of the released code: non-local blocks have one inner channel (the paper has
half of their input's), the exponent of the pooling is fixed at 3, and the weights of the triplet loss are not exact
(`epsilon`). It differs as follows: the learning rates rise linearly over the first ten epochs, not in ten steps;
batches follow permutations of the identities; images are padded with their edges, not with black; the last checkpoint
is scored; and retrieval adds the features of an image and its mirror image.

Hardware: meant for one accelerator with 16 GB or more: 8 identities x 2 modalities x 4 images of 288x144, 56,376 steps.
Score: published with the gallery draw `agw`, which is this recipe's protocol, are for AGW rank-1 47.50, mAP 47.65, mINP
35.30 (all-search, single-shot) and 54.17, 62.97, 59.23 (indoor-search). We have no score of this code on the real data
yet.
"""

from ml_collections import ConfigDict

from configs import sysu_image
from configs.common import SYSU_IMAGES, check_preset
from configs.two_stem import two_stem

PRESETS = ("agw", "base")


def get_config(preset: str = "agw") -> ConfigDict:
    """Returns the recipe with the data of `configs/sysu_image.py`."""
    config = agw(sysu_image.get_config(), preset, SYSU_IMAGES)
    config.protocol = "agw"
    return config


def agw(image: ConfigDict, preset: str, images: int) -> ConfigDict:
    """Returns a recipe of one stage, with the data of an image-space system.

    Args:
        image: the recipe of the image-space system.
        preset: one of `PRESETS`.
        images: the number of RGB images of the training identities.
    """
    check_preset(preset, PRESETS)
    config = two_stem(image, "agw", images=images, identities=8, epochs=81, drops=(20, 50), image_size=(288, 144))
    config.augment.erase.probability = 0.0
    if preset == "agw":
        config.agw.networks.resnet.non_local = (0, 2, 3, 0)
        config.agw.networks.pool = "gem"
        config.agw.weights.update({"L_tri": 0.0, "L_wrt": 1.0})
    return config
