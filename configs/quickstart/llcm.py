"""The quickstart's recipes on people drawn in the tree of LLCM.

    make quickstart-llcm

or, after it has drawn the dataset:

    python train.py --config quickstart/llcm --workdir runs/quickstart_llcm/teacher
    python eval.py --workdir runs/quickstart_llcm/teacher
    python eval.py --table llcm --runs runs/quickstart_llcm

Presets, as `quickstart/llcm:NAME`:

    teacher     the teacher only (the default)
    image       teacher, control and image system
    two_stream  M_bdtr

Hardware: two CPU cores are enough. The steps are those of the quickstart; we have not measured them on this dataset.
"""

from ml_collections import ConfigDict

from configs import llcm_image
from configs.quickstart.systems import small_system


def get_config(preset: str = "teacher") -> ConfigDict:
    """Returns a small recipe with LLCM's data."""
    return small_system(preset, llcm_image.use_llcm, "data/drawn_llcm")
