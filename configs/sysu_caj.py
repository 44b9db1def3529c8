"""CAJ on SYSU-MM01 (Ye et al., ICCV 2021): AGW's network, and RGB images that learn to look like infrared ones.

    python train.py --config configs/sysu_caj.py --workdir runs/sysu_caj --config.data_dir DIR
    python eval.py --workdir runs/sysu_caj

`DIR` is the dataset's own tree (README, "Train and score"). Every RGB image is shown twice, the second time with one
of its channels copied to all three, and infrared images are made grey or get one channel at random. Presets, as
`configs/sysu_caj.py:NAME`:

    caj       with the enhanced squared difference as ranking loss (the default)
    weighted  with AGW's weighted regularised triplet loss, as the released code without its option "square"

Networks, rates, starting weights and deviations are those of `configs/sysu_agw.py`. A term that the released code
gives the weight 0 is left out.

Hardware: meant for one accelerator with 16 GB or more: 96 images of 288x144, 69,600 steps.
Score: published with the gallery draw `agw`, which is this recipe's protocol, are rank-1 69.88, mAP 66.89, mINP 53.61
(all-search, single-shot) and 76.26, 80.37, 76.79 (indoor-search). There the unit features of an image and its mirror
image are added, here the features themselves. We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import sysu_image
from configs.common import SYSU_IMAGES, check_preset
from configs.two_stem import two_stem

PRESETS = {"caj": "L_esd", "weighted": "L_wrt"}  # the ranking loss


def get_config(preset: str = "caj") -> ConfigDict:
    """Returns the recipe with the data of `configs/sysu_image.py`."""
    config = caj(sysu_image.get_config(), preset, SYSU_IMAGES)
    config.protocol = "agw"
    return config


def caj(image: ConfigDict, preset: str, images: int) -> ConfigDict:
    """Returns a recipe of one stage, with the data of an image-space system.

    Args:
        image: the recipe of the image-space system.
        preset: a key of `PRESETS`.
        images: the number of RGB images of the training identities.
    """
    check_preset(preset, PRESETS)
    config = two_stem(image, "caj", images=images, identities=8, epochs=100, drops=(20, 50), image_size=(288, 144))
    config.caj.networks.resnet.non_local = (0, 2, 3, 0)
    config.caj.networks.pool = "gem"
    config.caj.channels.exchange = True
    config.caj.weights.update({"L_tri": 0.0, PRESETS[preset]: 1.0})
    return config
