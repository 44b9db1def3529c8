"""AGW and its baseline on RegDB: `configs/sysu_agw.py` on another dataset, with its presets.

    python train.py --config configs/regdb_agw.py --workdir runs/regdb_agw/1 --config.data_dir DIR
    python eval.py --workdir runs/regdb_agw/1
    python eval.py --table regdb --runs runs/regdb_agw

This is fold 1. `configs/regdb_image.py` says how all ten folds are trained and averaged.

Hardware: meant for one accelerator with 16 GB or more, for each fold: 5,265 steps.
Score: published is rank-1 70.05, mAP 66.37, mINP 50.19. We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import regdb_image
from configs.common import REGDB_IMAGES
from configs.sysu_agw import agw


def get_config(preset: str = "agw") -> ConfigDict:
    """Returns the recipe with the data of `configs/regdb_image.py`, and as many epochs as on SYSU-MM01."""
    return agw(regdb_image.get_config(), preset, REGDB_IMAGES)
