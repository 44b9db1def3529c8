"""RLE on LLCM: `configs/sysu_rle.py` on another dataset, with its presets.

    python train.py --config configs/llcm_rle.py --workdir runs/llcm_rle --config.data_dir DIR
    python eval.py --workdir runs/llcm_rle
    python eval.py --table llcm --runs runs

Half of the images are made grey, as in the released code for this dataset.

Hardware: meant for one accelerator with 16 GB or more: 106,757 steps.
We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import llcm_image
from configs.common import LLCM_IMAGES
from configs.sysu_rle import rle


def get_config(preset: str = "rle") -> ConfigDict:
    """Returns the recipe with the data of `configs/llcm_image.py`, and as many epochs as on SYSU-MM01."""
    config = rle(llcm_image.get_config(), preset, LLCM_IMAGES)
    config.rle.channels.grey = 0.5
    return config
