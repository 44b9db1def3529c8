"""Narrow versions of Method1 and Method2 of Tables 7 and 8, on drawn people.

    make quickstart-method2

Presets, as `quickstart/methods:NAME`:

    method1  E_a and its head start from the teacher, as in the quickstart; E_s, G and D from random weights
    method2  E_a, E_s, G and D start from runs/quickstart_market (quickstart/market), the head from random weights

This is the only difference.

Hardware: two CPU cores are enough. 2,400 steps of the teacher and 1,500 of the image system.
"""

from ml_collections import ConfigDict

from configs import quickstart
from configs.common import check_preset

PRESETS = ("method1", "method2")


def get_config(preset: str = "method1") -> ConfigDict:
    """Returns the quickstart's recipe without the control. The presets differ in where the image stage starts."""
    check_preset(preset, PRESETS)
    config = quickstart.small()
    if preset == "method2":
        config.image.update({"start_from": "", "transfer_from": "runs/quickstart_market"})
    return config
