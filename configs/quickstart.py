"""The paper's recipe with its widths turned down, on drawn people: the first thing to run.

    make quickstart

or, on the dataset that it draws,

    python train.py --config configs/quickstart.py --workdir runs/quickstart
    python eval.py --workdir runs/quickstart

Presets, as `configs/quickstart.py:NAME`: paper (the default) and dgnet.

Hardware: two CPU cores are enough. 1,000 steps of the teacher and 160 of the image system. Score: see the README; the
paper has none on drawn people.
"""

from ml_collections import ConfigDict

from configs import sysu_image

PRESETS = ("paper", "dgnet")


def get_config(preset: str = "paper") -> ConfigDict:
    """`configs/sysu_image.py` at about a fifth of its widths, on small images, with rates for a random start."""
    if preset not in PRESETS:
        raise ValueError(f'preset "{preset}" is unknown; choose one of {", ".join(PRESETS)}.')
    config = sysu_image.get_config(preset)
    config.dtype = "float32"
    config.data_dir = "data/drawn"
    config.image_size = (96, 48)
    config.train_split = "train"
    config.augment.pad = 4
    config.augment.erase.probability = 0.0  # hides too much from a network that sees each image a few times

    for name in config.recipe:
        config[name].networks.E_a.width = 12
        config[name].networks.head.update({"bottleneck": 128, "dropout": 0.0})

    teacher = config.teacher
    # From random weights Adam is faster; coupled L2 would outweigh its gradients while the classifier is small.
    adam = {"kind": "adam", "b1": 0.9, "b2": 0.999, "l2": 0.0}
    teacher.update({"steps": 1000, "log_every": 20, "evaluate_every": 250, "checkpoint_every": 250})
    teacher.decay.update({"at": (800,), "warmup": 20})
    teacher.optimizers.trunk.update(adam | {"learning_rate": 1e-3})
    teacher.optimizers.head.update(adam | {"learning_rate": 5e-3})

    image = config.image
    image.update({"steps": 160, "log_every": 5, "evaluate_every": 40, "checkpoint_every": 40, "pictures_every": 40})
    image.start_from = "teacher"
    image.networks.E_s.update({"width": 6, "code": 16})
    image.networks.G.mlp = 64
    image.networks.D.width = 6
    image.decay.update({"at": (130,)})
    # L_id_recon waits too: on the first images, which show nobody yet, it would undo what E_a has from the teacher.
    image.ramp.update({"terms": ("L_id_recon", *image.ramp.terms), "start": 60, "slope": 0.004})
    image.optimizers.trunk.learning_rate = 2e-4
    image.optimizers.head.learning_rate = 5e-3
    for group in ("generation", "discrimination"):
        image.optimizers[group].update({"learning_rate": 1e-3, "l2": 0.0})
    return config
