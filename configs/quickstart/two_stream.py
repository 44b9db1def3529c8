"""A narrow M_bdtr, on drawn people; `:baseline` is the same without its ranking loss.

    make quickstart-table6

Hardware: two CPU cores are enough. 2,400 steps.
"""

from ml_collections import ConfigDict

from configs import quickstart, sysu_two_stream


def get_config(preset: str = "bdtr") -> ConfigDict:
    """Returns `configs/sysu_two_stream.py` with the data, widths and rates of `configs/quickstart/__init__.py`."""
    config = sysu_two_stream.get_config(preset)
    narrow(config)
    return config


def narrow(config: ConfigDict) -> None:
    """Gives the two streams of a recipe the quickstart's data, widths, rates and steps."""
    small = quickstart.small()
    for key in ("dtype", "data_dir", "image_size", "train_split", "augment"):
        config[key] = small[key]
    stage, teacher = config.two_stream, small.teacher
    stage.networks.stream.update({key: teacher.networks.E_a[key] for key in ("width", "blocks")})
    stage.networks.head.bottleneck = teacher.networks.head.bottleneck
    stage.update({key: teacher[key] for key in ("steps", "log_every", "evaluate_every", "checkpoint_every", "decay")})
    for name, group in stage.optimizers.items():
        group.update(teacher.optimizers[name].to_dict() | {"networks": group.networks})
    # L_rank starts late: from random weights it would pull all features to one point before they separate identities.
    stage.ramp = {"start": 500, "slope": {"L_rank": 0.002}}
