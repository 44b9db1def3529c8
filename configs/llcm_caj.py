"""CAJ on LLCM: `configs/sysu_caj.py` on another dataset, with its presets.

    python train.py --config configs/llcm_caj.py --workdir runs/llcm_caj --config.data_dir DIR
    python eval.py --workdir runs/llcm_caj
    python eval.py --table llcm --runs runs

Hardware: meant for one accelerator with 16 GB or more: 53,000 steps.
Score: the dataset's authors publish rank-1 49.86, mAP 56.40 (I→V) and 63.73, 47.71 (V→I) for CAJ.
We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import llcm_image
from configs.common import LLCM_IMAGES
from configs.sysu_caj import caj


def get_config(preset: str = "caj") -> ConfigDict:
    """Returns the recipe with the data of `configs/llcm_image.py`, and as many epochs as on SYSU-MM01."""
    return caj(llcm_image.get_config(), preset, LLCM_IMAGES)
