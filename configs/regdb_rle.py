"""RLE on RegDB: `configs/sysu_rle.py` on another dataset, with its presets.

    python train.py --config configs/regdb_rle.py --workdir runs/regdb_rle/1 --config.data_dir DIR
    python eval.py --workdir runs/regdb_rle/1
    python eval.py --table regdb --runs runs/regdb_rle

This is fold 1. `configs/regdb_image.py` says how all ten folds are trained and averaged.
Half of the images are made grey, as in the released code for this dataset.

Hardware: meant for one accelerator with 16 GB or more, for each fold: 12,986 steps.
We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import regdb_image
from configs.common import REGDB_IMAGES
from configs.sysu_rle import rle


def get_config(preset: str = "rle") -> ConfigDict:
    """Returns the recipe with the data of `configs/regdb_image.py`, and as many epochs as on SYSU-MM01."""
    config = rle(regdb_image.get_config(), preset, REGDB_IMAGES)
    config.rle.channels.grey = 0.5
    return config
