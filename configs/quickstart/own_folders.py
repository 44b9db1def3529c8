"""The quickstart's recipes on people drawn in folders such as your own, or on your own.

    make quickstart-folders

or, on your own, the tree of docs/data.md:

    rgbir-check DIR
    python train.py --config quickstart/own_folders --workdir runs/own --config.data_dir DIR
    python eval.py --workdir runs/own

Presets, as `quickstart/own_folders:NAME`:

    teacher     the teacher only (the default)
    image       teacher, control and image system
    two_stream  M_bdtr

Hardware: two CPU cores are enough. The steps are those of the quickstart; we have not measured them on this dataset.
"""

from ml_collections import ConfigDict

from configs import own_folders
from configs.quickstart.systems import small_system


def get_config(preset: str = "teacher") -> ConfigDict:
    """Returns a small recipe with the data of your own folders."""
    return small_system(preset, own_folders.use_folders, "data/drawn_folders")
