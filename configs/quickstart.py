"""The paper's recipe with its widths turned down, on drawn people: the first thing to run.

    make quickstart

or, on the dataset that it draws,

    python train.py --config configs/quickstart.py --workdir runs/quickstart
    python eval.py --workdir runs/quickstart

Hardware: two CPU cores are enough.
"""

from ml_collections import ConfigDict

from configs import sysu_image


def get_config(preset: str = "paper") -> ConfigDict:
    """`configs/sysu_image.py` at a quarter of its widths and of its image's sides, with rates for a random start."""
    config = sysu_image.get_config(preset)
    config.dtype = "float32"
    config.data_dir = "data/drawn"
    config.image_size = (64, 32)
    config.train_split = "train"
    config.augment.pad = 3

    for name in config.recipe:
        stage = config[name]
        stage.networks.E_a.width = 16
        stage.networks.head.update({"bottleneck": 128, "dropout": 0.2})
        stage.decay.warmup = 20
        for group in ("trunk", "head"):
            stage.optimizers[group].update({"kind": "adam", "learning_rate": 2e-3, "b1": 0.9, "b2": 0.999, "clip": 1.0})

    config.teacher.update({"steps": 600, "log_every": 20, "evaluate_every": 200, "checkpoint_every": 200})
    config.teacher.decay.at = (400,)

    image = config.image
    image.update({"steps": 400, "log_every": 20, "evaluate_every": 100, "checkpoint_every": 100})
    image.pictures_every = 100
    image.start_from = "teacher"
    image.networks.E_s.update({"width": 8, "code": 32})
    image.networks.G.mlp = 64
    image.networks.D.width = 8
    image.decay.at = (300,)
    image.ramp.update({"start": 150, "slope": 0.01})
    for group in ("generation", "discrimination"):
        image.optimizers[group].learning_rate = 1e-3
    for group in ("trunk", "head"):
        image.optimizers[group].learning_rate = 5e-4
    return config
