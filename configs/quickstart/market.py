"""The quickstart's recipe on drawn RGB images in Market-1501's tree: the starting point of the small Method2.

    make quickstart-method2

Hardware: two CPU cores are enough. 2,400 steps of the teacher and 1,500 of the image system.
"""

from ml_collections import ConfigDict

from configs import market_image, quickstart


def get_config(preset: str = "paper") -> ConfigDict:
    """Returns `configs/quickstart/__init__.py` with the data of `configs/market_image.py`."""
    config = quickstart.small(preset)
    market_image.use_market(config)
    config.data_dir = "data/drawn_market"
    return config
