"""M_bdtr on RegDB: `configs/sysu_two_stream.py` on another dataset, with its presets.

    python train.py --config configs/regdb_two_stream.py --workdir runs/regdb_bdtr/1 --config.data_dir DIR
    python eval.py --workdir runs/regdb_bdtr/1
    python eval.py --table regdb --runs runs/regdb_bdtr

This is fold 1. `configs/regdb_image.py` says how all ten folds are trained and averaged.

Hardware: meant for one accelerator with 16 GB or more, for each fold: 8,000 steps, or with `batch32` 3,965.
Score: BDTR's published demonstration, with AlexNet streams, prints rank-1 34.3, mAP 33.1. We have no score of this code
on the real data yet.
"""

from ml_collections import ConfigDict

from configs import regdb_image
from configs.common import REGDB_IMAGES
from configs.sysu_two_stream import two_stream


def get_config(preset: str = "bdtr") -> ConfigDict:
    """Returns the recipe with the data, and but for `batch32` the steps of the teacher, of `configs/regdb_image.py`."""
    return two_stream(regdb_image.get_config(), preset, REGDB_IMAGES)
