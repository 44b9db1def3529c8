"""The quickstart's recipes on your own folders, or on people drawn in such a tree.

    python -m rgbir_jax.synthetic --layout folders --out data/own --train 96 --val 16 --test 32 --images 4 --size 128 64
    python train.py --config quickstart/own_folders --workdir runs/quickstart_own
    python eval.py --workdir runs/quickstart_own

`--config.data_dir` names another tree. Presets, as `quickstart/own_folders:NAME`:

    teacher     the teacher only (the default)
    image       teacher, control and image system
    two_stream  M_bdtr

Hardware: two CPU cores are enough. The steps are those of the quickstart; we have not measured them on this dataset.
"""

from ml_collections import ConfigDict

from configs import own_folders
from configs.quickstart.regdb import small_system


def get_config(preset: str = "teacher") -> ConfigDict:
    """Returns a small recipe with the data of your own folders."""
    config = small_system(preset)
    own_folders.use_folders(config)
    return config
