"""SDL on RegDB: `configs/sysu_sdl.py` on another dataset, with its presets.

    python train.py --config configs/regdb_sdl.py --workdir runs/regdb_sdl/1 --config.data_dir DIR
    python eval.py --workdir runs/regdb_sdl/1
    python eval.py --table regdb --runs runs/regdb_sdl

This is fold 1. `configs/regdb_image.py` says how all ten folds are trained and averaged.

Hardware: meant for one accelerator with 16 GB or more, for each fold: 3,965 steps.
We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import regdb_two_stream
from configs.sysu_sdl import sdl


def get_config(preset: str = "paper") -> ConfigDict:
    """Returns the recipe with the data of `configs/regdb_image.py`, and as many epochs as on SYSU-MM01."""
    return sdl(regdb_two_stream.get_config("batch32"), preset)
