"""The quickstart's systems, by preset, for the small recipes of other datasets."""

from collections.abc import Callable

from ml_collections import ConfigDict

from configs import quickstart
from configs.common import check_preset
from configs.quickstart import two_stream

SYSTEMS = {"teacher": quickstart.small, "image": quickstart.get_config, "two_stream": two_stream.get_config}


def small_system(preset: str, use_data: Callable[[ConfigDict], None], data_dir: str) -> ConfigDict:
    """Returns a recipe of the quickstart with other data.

    Args:
        preset: a key of `SYSTEMS`.
        use_data: lets a recipe for SYSU-MM01 train and test on another dataset.
        data_dir: the folder of people drawn in that dataset's tree.
    """
    check_preset(preset, SYSTEMS)
    config = SYSTEMS[preset]()
    if preset == "teacher":
        config.recipe = ("teacher",)
    use_data(config)
    config.data_dir = data_dir
    return config
