"""AGW and its baseline on LLCM: `configs/sysu_agw.py` on another dataset, with its presets.

    python train.py --config configs/llcm_agw.py --workdir runs/llcm_agw --config.data_dir DIR
    python eval.py --workdir runs/llcm_agw
    python eval.py --table llcm --runs runs

Hardware: meant for one accelerator with 16 GB or more: 42,930 steps.
Score: the dataset's authors publish rank-1 49.13, mAP 55.80 (I→V) and 63.72, 47.21 (V→I) for AGW.
We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import llcm_image
from configs.common import LLCM_IMAGES
from configs.sysu_agw import agw


def get_config(preset: str = "agw") -> ConfigDict:
    """Returns the recipe with the data of `configs/llcm_image.py`, and as many epochs as on SYSU-MM01."""
    return agw(llcm_image.get_config(), preset, LLCM_IMAGES)
