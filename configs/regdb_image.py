"""The image-space system on RegDB, at full size. The paper has no experiment on this dataset.

    python train.py --config configs/regdb_image.py --workdir runs/regdb/1 --config.data_dir DIR --config.fold 1
    python eval.py --workdir runs/regdb/1
    python eval.py --table regdb --runs runs/regdb

`DIR` is the dataset's own tree (Visible, Thermal, idx). Published figures are means over its ten folds: train and score
each, into runs/regdb/1 to runs/regdb/10; the last command averages them. Presets, as `configs/regdb_image.py:NAME`, are
those of `configs/sysu_image.py`; `teacher` is the teacher only.

Hardware: meant for one accelerator with 16 GB or more, for each fold: 8,000 steps of the teacher and 100,000 of the
image system. We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import sysu_image


def get_config(preset: str = "paper") -> ConfigDict:
    """Returns `configs/sysu_image.py` with RegDB's data, and as many steps as its 4,120 training images need."""
    config = sysu_image.get_config(preset)
    use_regdb(config)
    config.teacher.steps = 8_000  # 60 epochs
    config.teacher.decay.at = (5_300,)
    config.image.steps = 100_000
    config.image.decay.at = (60_000, 90_000)
    return config


def use_regdb(config: ConfigDict) -> None:
    """Lets a recipe for SYSU-MM01 train and test on a fold of RegDB."""
    config.dataset = "regdb"
    config.data_dir = "data/RegDB"
    config.protocol = "all_images"
    config.fold = 1  # 1 to 10
