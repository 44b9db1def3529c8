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
    """`configs/sysu_image.py` at a quarter of its widths, on small images, with rates for a random start."""
    if preset not in PRESETS:
        raise ValueError(f'preset "{preset}" is unknown; choose one of {", ".join(PRESETS)}.')
    config = sysu_image.get_config(preset)
    config.dtype = "float32"
    config.data_dir = "data/drawn"
    config.image_size = (64, 32)
    config.train_split = "train"
    config.augment.pad = 3
    config.augment.erase.probability = 0.0  # hides too much from a network that sees each image a few times

    for name in config.recipe:
        config[name].networks.E_a.update({"width": 16, "pool": "max"})
        for head in config[name].networks.heads:
            config[name].networks[head].update({"bottleneck": 128, "dropout": 0.0})

    teacher = config.teacher
    # From random weights Adam is faster; coupled L2 would outweigh its gradients while the classifier is small.
    adam = {"kind": "adam", "b1": 0.9, "b2": 0.999, "l2": 0.0}
    teacher.update({"steps": 1000, "log_every": 20, "evaluate_every": 250, "checkpoint_every": 250})
    teacher.decay.update({"at": (800,), "warmup": 20})
    teacher.optimizers.trunk.update(adam | {"learning_rate": 1e-3})
    teacher.optimizers.head.update(adam | {"learning_rate": 5e-3})

    image = config.image
    image.update({"steps": 500, "log_every": 10, "evaluate_every": 100, "checkpoint_every": 100, "pictures_every": 100})
    image.start_from = "teacher"
    image.networks.E_s.update({"width": 8, "code": 32})
    image.networks.G.mlp = 128
    image.networks.D.width = 16
    image.decay.update({"at": (400,)})
    # L_id_recon waits too: on the first images, which show nobody yet, it would undo what E_a has from the teacher.
    image.ramp.update({"start": 200, "slope": {term: 0.01 for term in ("L_id_recon", *image.ramp.slope)}})
    image.optimizers.trunk.learning_rate = 2e-4
    image.optimizers.head.learning_rate = 5e-3
    for group in ("generation", "discrimination"):
        image.optimizers[group].update({"learning_rate": 1e-3, "l2": 0.0})

    add_control(config)
    return config


def add_control(config: ConfigDict) -> None:
    """Adds the stage `control` before the image stage: the teacher trained on for the same iterations by L_id only.

    Batches, augmentation, optimisers, learning rates and the scale of the loss are the image stage's.
    """
    image = config.image
    control = config.teacher.copy_and_resolve_references()
    control.update({key: image[key] for key in ("steps", "total_scale", "log_every", "evaluate_every", "checkpoint_every")})
    control.update({"start_from": "teacher", "pictures_every": 0})
    for key in ("decay",):
        control[key] = image[key].copy_and_resolve_references()
    for group in ("trunk", "head"):
        control.optimizers[group] = image.optimizers[group].copy_and_resolve_references()
    control.optimizers.head.networks = ("head",)
    config.control = control
    config.recipe = ("teacher", "control", "image")
