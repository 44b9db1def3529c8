"""The image-space system on LLCM, at full size. The paper has no experiment on this dataset.

    python train.py --config configs/llcm_image.py --workdir runs/llcm_image --config.data_dir DIR
    python eval.py --workdir runs/llcm_image
    python eval.py --table llcm --runs runs

`DIR` is the dataset's own tree (vis, nir, idx). Presets, as `configs/llcm_image.py:NAME`, are those of
`configs/sysu_image.py`; `teacher` is the teacher only.

Hardware: meant for one accelerator with 16 GB or more: 58,000 steps of the teacher and 150,000 of the image system.
We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import sysu_image


def get_config(preset: str = "paper") -> ConfigDict:
    """Returns `configs/sysu_image.py` with LLCM's data."""
    config = sysu_image.get_config(preset)
    use_llcm(config)
    config.teacher.steps = 58_000  # 60 epochs of 30,921 images
    config.teacher.decay.at = (39_000,)
    return config


def use_llcm(config: ConfigDict) -> None:
    """Lets a recipe for SYSU-MM01 train and test on LLCM."""
    config.dataset = "llcm"
    config.data_dir = "data/LLCM"
    config.protocol = "seeded"
