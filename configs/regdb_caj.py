"""CAJ on RegDB: `configs/sysu_caj.py` on another dataset, with its presets.

    python train.py --config configs/regdb_caj.py --workdir runs/regdb_caj/1 --config.data_dir DIR
    python eval.py --workdir runs/regdb_caj/1
    python eval.py --table regdb --runs runs/regdb_caj

This is fold 1. `configs/regdb_image.py` says how all ten folds are trained and averaged.

Hardware: meant for one accelerator with 16 GB or more, for each fold: 6,500 steps.
Score: published is rank-1 85.03, mAP 79.14, mINP 65.33. The released test names models that were trained
as the preset `weighted`. We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import regdb_image
from configs.common import REGDB_IMAGES
from configs.sysu_caj import caj


def get_config(preset: str = "caj") -> ConfigDict:
    """Returns the recipe with the data of `configs/regdb_image.py`, and as many epochs as on SYSU-MM01."""
    return caj(regdb_image.get_config(), preset, REGDB_IMAGES)
