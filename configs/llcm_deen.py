"""DEEN on LLCM: `configs/sysu_deen.py` on another dataset, with its presets.

    python train.py --config configs/llcm_deen.py --workdir runs/llcm_deen --config.data_dir DIR
    python eval.py --workdir runs/llcm_deen
    python eval.py --table llcm --runs runs

Erased rectangles have the usual sizes; those of `configs/sysu_deen.py` are known for SYSU-MM01 only.

Hardware: meant for one accelerator with 24 GB or more: 106,757 steps.
Score: the dataset's authors publish rank-1 55.52, mAP 62.07 (I→V) and 69.21, 55.52 (V→I).
We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import llcm_image
from configs.common import LLCM_IMAGES
from configs.sysu_deen import deen


def get_config(preset: str = "deen") -> ConfigDict:
    """Returns the recipe with the data of `configs/llcm_image.py`, and as many epochs as on SYSU-MM01."""
    return deen(llcm_image.get_config(), preset, LLCM_IMAGES)
