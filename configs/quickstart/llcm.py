"""The quickstart's recipes on people drawn in the tree of LLCM.

    python -m rgbir_jax.synthetic --layout llcm --out data/drawn_llcm --train 96 --test 32 --images 4 --size 128 64
    python train.py --config quickstart/llcm --workdir runs/quickstart_llcm
    python eval.py --workdir runs/quickstart_llcm

Presets, as `quickstart/llcm:NAME`:

    teacher     the teacher only (the default)
    image       teacher, control and image system
    two_stream  M_bdtr

Hardware: two CPU cores are enough. The steps are those of the quickstart; we have not measured them on this dataset.
"""

from ml_collections import ConfigDict

from configs import llcm_image
from configs.quickstart.regdb import small_system


def get_config(preset: str = "teacher") -> ConfigDict:
    """Returns a small recipe with LLCM's data."""
    config = small_system(preset)
    llcm_image.use_llcm(config)
    config.data_dir = "data/drawn_llcm"
    return config
