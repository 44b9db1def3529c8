"""Hi-CMD on RegDB: `configs/sysu_hicmd.py` on another dataset, with its presets.

    python train.py --config configs/regdb_hicmd.py --workdir runs/regdb_hicmd/1 --config.data_dir DIR
    python eval.py --workdir runs/regdb_hicmd/1
    python eval.py --table regdb --runs runs/regdb_hicmd

This is fold 1. `configs/regdb_image.py` says how all ten folds are trained and averaged.

Hardware: meant for one accelerator with 16 GB or more, for each fold: 25,000 steps, or 100,000 with preset `released`.
Score: the authors print rank-1 70.93, the mean of ten folds, and mAP 65.93 of the first. We have no score of this code
on the real data yet.
"""

from ml_collections import ConfigDict

from configs import regdb_image
from configs.sysu_hicmd import hicmd


def get_config(preset: str = "paper") -> ConfigDict:
    """Returns the recipe with the data of `configs/regdb_image.py`, and half as many iterations as on SYSU-MM01."""
    return hicmd(regdb_image.get_config(), preset, steps=100_000)
