"""cmPIG on RegDB: `configs/sysu_cmpig.py` on another dataset, with its presets.

    python train.py --config configs/regdb_cmpig.py --workdir runs/regdb_cmpig/1 --config.data_dir DIR
    python eval.py --workdir runs/regdb_cmpig/1
    python eval.py --table regdb --runs runs/regdb_cmpig

This is fold 1. `configs/regdb_image.py` says how all ten folds are trained and averaged. The schedule is that of
SYSU-MM01, whose epochs have a fixed number of iterations; the publication's for RegDB was not read.

Hardware: meant for one accelerator with 16 GB or more, for each fold: 20,000 steps of the first stage, or 120,000 with
preset `released`, and 10,000 of the second.
Score: published are rank-1 48.1, mAP 48.9 (visible to thermal) and 48.5, 49.3. We have no score of this code on the
real data yet.
"""

from ml_collections import ConfigDict

from configs import regdb_image
from configs.sysu_cmpig import cmpig


def get_config(preset: str = "paper") -> ConfigDict:
    """Returns the recipe with the data of `configs/regdb_image.py`."""
    return cmpig(regdb_image.get_config(), preset)
