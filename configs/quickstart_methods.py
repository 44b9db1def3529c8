"""Method1 and Method2 of Tables 7 and 8 with their widths turned down, on drawn people.

    make quickstart-method2

Presets, as `configs/quickstart_methods.py:NAME`:

    method1  E_a and its head start from the teacher, as in `configs/quickstart.py`; E_s, G and D from random weights
    method2  E_a, E_s, G and D start from runs/quickstart_market (configs/quickstart_market.py), the head from random
             weights

They differ in nothing else.

Hardware: two CPU cores are enough. 2,400 steps of the teacher and 1,500 of the image system.
"""

from ml_collections import ConfigDict

from configs import quickstart

PRESETS = ("method1", "method2")


def get_config(preset: str = "method1") -> ConfigDict:
    """`configs/quickstart.py` without the control; the presets differ in what the image stage starts from."""
    if preset not in PRESETS:
        raise ValueError(f'preset "{preset}" is unknown; choose one of {", ".join(PRESETS)}.')
    config = quickstart.small()
    if preset == "method2":
        config.image.update({"start_from": "", "transfer_from": "runs/quickstart_market"})
    return config
