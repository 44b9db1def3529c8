"""The quickstart's recipes on people drawn in the tree of RegDB.

    make quickstart-regdb

or, after it has drawn the dataset, for each fold:

    python train.py --config quickstart/regdb --workdir runs/quickstart_regdb/1 --config.fold 1
    python eval.py --workdir runs/quickstart_regdb/1
    python eval.py --table regdb --runs runs/quickstart_regdb

Presets, as `quickstart/regdb:NAME`:

    teacher     the teacher only (the default)
    image       teacher, control and image system
    two_stream  M_bdtr

`--config.fold` is one of the ten folds; the table averages the runs of several.

Hardware: two CPU cores are enough. The steps are those of the quickstart; we have not measured them on this dataset.
"""

from ml_collections import ConfigDict

from configs import regdb_image
from configs.quickstart.systems import small_system


def get_config(preset: str = "teacher") -> ConfigDict:
    """Returns a small recipe with RegDB's data."""
    return small_system(preset, regdb_image.use_regdb, "data/drawn_regdb")
