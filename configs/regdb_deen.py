"""DEEN on RegDB: `configs/sysu_deen.py` on another dataset, with its presets.

    python train.py --config configs/regdb_deen.py --workdir runs/regdb_deen/1 --config.data_dir DIR
    python eval.py --workdir runs/regdb_deen/1
    python eval.py --table regdb --runs runs/regdb_deen

This is fold 1. `configs/regdb_image.py` says how all ten folds are trained and averaged.
Erased rectangles have the usual sizes; those of `configs/sysu_deen.py` are known for SYSU-MM01 only. For RegDB the
publication leaves out the ResNet's last stage and expands embeddings after layer2; this is the network of SYSU-MM01.

Hardware: meant for one accelerator with 24 GB or more, for each fold: 12,986 steps.
Score: published are rank-1 91.1, mAP 85.1 (visible to thermal) and 89.5, 83.4. We have no score of this code on the
real data yet.
"""

from ml_collections import ConfigDict

from configs import regdb_image
from configs.common import REGDB_IMAGES
from configs.sysu_deen import deen


def get_config(preset: str = "deen") -> ConfigDict:
    """Returns the recipe with the data of `configs/regdb_image.py`, and as many epochs as on SYSU-MM01."""
    return deen(regdb_image.get_config(), preset, REGDB_IMAGES)
