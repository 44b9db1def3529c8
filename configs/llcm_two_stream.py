"""M_bdtr on LLCM: `configs/sysu_two_stream.py` on another dataset, with its presets.

    python train.py --config configs/llcm_two_stream.py --workdir runs/llcm_bdtr --config.data_dir DIR
    python eval.py --workdir runs/llcm_bdtr

Hardware: meant for one accelerator with 16 GB or more: 58,000 steps, or with `batch32` 32,330.
We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import llcm_image
from configs.common import LLCM_IMAGES
from configs.sysu_two_stream import two_stream


def get_config(preset: str = "bdtr") -> ConfigDict:
    """Returns the recipe with the data, and but for `batch32` the steps of the teacher, of `configs/llcm_image.py`."""
    return two_stream(llcm_image.get_config(), preset, LLCM_IMAGES)
