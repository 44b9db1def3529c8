"""The quickstart's recipes on people drawn in the tree of RegDB.

    python -m rgbir_jax.synthetic --layout regdb --out data/drawn_regdb --train 96 --test 32 --images 4 --size 128 64
    python train.py --config quickstart/regdb --workdir runs/quickstart_regdb
    python eval.py --workdir runs/quickstart_regdb

Presets, as `quickstart/regdb:NAME`:

    teacher     the teacher only (the default)
    image       teacher, control and image system
    two_stream  M_bdtr

`--config.fold` chooses one of the ten folds; `eval.py --table regdb --runs` averages the runs of several.

Hardware: two CPU cores are enough. The steps are those of the quickstart; we have not measured them on this dataset.
"""

from ml_collections import ConfigDict

from configs import quickstart, regdb_image
from configs.common import check_preset
from configs.quickstart import two_stream

SYSTEMS = {"teacher": quickstart.small, "image": quickstart.get_config, "two_stream": two_stream.get_config}


def get_config(preset: str = "teacher") -> ConfigDict:
    """Returns a small recipe with RegDB's data."""
    config = small_system(preset)
    regdb_image.use_regdb(config)
    config.data_dir = "data/drawn_regdb"
    return config


def small_system(preset: str) -> ConfigDict:
    """Returns the quickstart's recipe of one of the `SYSTEMS`."""
    check_preset(preset, SYSTEMS)
    config = SYSTEMS[preset]()
    if preset == "teacher":
        config.recipe = ("teacher",)
    return config
