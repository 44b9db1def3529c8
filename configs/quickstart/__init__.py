"""A narrow version of the paper's recipe, on drawn people: the first thing to run.

    make quickstart

or, after it has drawn the dataset:

    python train.py --config quickstart --workdir runs/quickstart
    python eval.py --workdir runs/quickstart

Presets, as `quickstart:NAME`, are those of configs/sysu_image.py: best (the default; its weight of L_id_recon is 0.2
here and 0.5 there), paper, dgnet and released, which has neither teacher nor control.

Hardware: two CPU cores are enough. 2,400 steps of the teacher, 2,700 of `drawing` (the image system without the terms
of swapped images), 400 of the whole system, and 3,100 of the control.
Score: see docs/results.md. The paper has no score on drawn people.
"""

from ml_collections import ConfigDict

from configs import sysu_image
from configs.common import check_preset

DRAWING = {"L_simple", "L_cross", "L_id_orig", "L_triplet"}  # the terms of the stage `drawing`
PRESETS = ("best", "paper", "dgnet", "released")


def get_config(preset: str = "best") -> ConfigDict:
    """Returns the small recipe. If it has a teacher, the image stage starts from a generator that draws already."""
    config = small(preset)
    if "teacher" in config.recipe:
        config.image.update({"steps": 400, "evaluate_every": 400})
        config.image.decay.at = (320,)
        add_drawing(config, steps=2_700)
        if preset == "best":  # the whole weight would move swaps further from the truth in so few steps
            config.image.weights.L_id_recon = 0.2
        add_control(config)
    return config


def small(preset: str = "paper") -> ConfigDict:
    """Returns `configs/sysu_image.py` with a quarter of its widths, small images and rates for a random start."""
    check_preset(preset, PRESETS)
    config = sysu_image.get_config(preset)
    config.dtype = "float32"
    config.data_dir = "data/drawn"
    config.image_size = (64, 32)
    config.train_split = "train"
    config.batch.identities = 4  # 16 images: more iterations help more here than larger batches
    config.augment.pad = 3
    config.augment.erase.probability = 0.0  # hides too much if the network sees each image only a few times

    # One residual block per stage: on small maps a deeper trunk takes four times as long and learns no faster.
    for name in config.recipe:
        config[name].networks.E_a.update({"width": 16, "blocks": (1, 1, 1, 1), "pool": "avg"})
        for head in config[name].networks.heads:
            config[name].networks[head].bottleneck = 128
    _teacher(config.teacher)
    _image(config.image)
    return config


# Adam is faster from random weights. Coupled L2 would outweigh its gradients while the classifier's weights are small.
_ADAM = {"kind": "adam", "b1": 0.9, "b2": 0.999, "l2": 0.0}


def _teacher(teacher: ConfigDict) -> None:
    teacher.update({"steps": 2400, "log_every": 50, "evaluate_every": 2400, "checkpoint_every": 400})
    teacher.decay.update({"at": (1800,), "warmup": 20})
    teacher.optimizers.trunk.update(_ADAM | {"learning_rate": 1e-3})
    teacher.optimizers.head.update(_ADAM | {"learning_rate": 5e-3})


def _image(image: ConfigDict) -> None:
    image.update({"steps": 1500, "log_every": 25, "evaluate_every": 1500, "checkpoint_every": 250})
    image.pictures_every = 250
    image.start_from = image.teacher
    image.networks.E_s.update({"width": 8, "code": 64})
    if "E_id" in image.networks:
        image.networks.E_id.update({"width": 16, "blocks": (1, 1, 1, 1), "hidden": 16})
    image.networks.G.mlp = 64  # most of G's parameters are in its MLPs
    image.networks.D.update({"width": 16, "init_std": 0.1})  # smaller kernels leave D at chance for too long
    image.decay.update({"at": (1200,), "warmup": 50})
    # L_id_recon starts late too: the first generated images show no person, and it would undo what E_a has from the
    # teacher.
    image.ramp.update({"start": 400, "slope": {term: 0.0025 for term in image.ramp.slope} | {"L_id_recon": 0.00075}})
    image.optimizers.trunk.update(_ADAM | {"learning_rate": 5e-4})
    image.optimizers.head.update(_ADAM | {"learning_rate": 1e-3})
    image.optimizers.generation.update(_ADAM | {"b1": 0.5, "learning_rate": 1e-3})
    # A tenth of G's rate: at 4e-4, L_adv_D fell and L_cross rose (docs/results.md, Trials).
    image.optimizers.discrimination.update(_ADAM | {"b1": 0.5, "learning_rate": 1e-4})


def add_drawing(config: ConfigDict, steps: int) -> None:
    """Adds the stage `drawing`, from which the image stage starts: it generates and compares same-identity images only.

    Neither D nor a term of swapped images takes part, so its iterations are shorter.

    Args:
        config: a recipe with an image stage.
        steps: the iterations of `drawing`.
    """
    image = config.image
    config.drawing = image.copy_and_resolve_references()
    config.drawing.update({"steps": steps, "teacher": "", "evaluate_every": 0})
    config.drawing.decay.update({"at": tuple(int(part * steps) for part in (0.6, 0.8, 0.9)), "factor": 0.3})
    config.drawing.optimizers.generation.learning_rate = 2e-3
    # By the end of `drawing` E_a's rate has fallen below this. At the whole rate it would lose some of what it learned.
    for group in ("trunk", "head"):
        image.optimizers[group].learning_rate *= 0.1
    for term in set(image.weights) - DRAWING:
        config.drawing.weights[term] = 0.0
    image.start_from = "drawing"
    image.ramp.start = 0
    late = {term: image.weights[term] for term in image.ramp.slope}
    image.ramp.slope = ConfigDict({term: weight / 200 for term, weight in late.items() if weight})
    config.recipe = ("teacher", "drawing", "image")


def add_control(config: ConfigDict) -> None:
    """Adds the stage `control`: the teacher, trained further by L_id only, for as many steps as all image stages.

    Batches, augmentation and loss scale are those of the image stages. E_a's rates and their decay are those of the
    first one, over all steps.
    """
    stages = [config[name] for name in config.recipe if config[name].stage == "image"]
    first, image, steps = stages[0], stages[-1], sum(stage.steps for stage in stages)
    control = config.teacher.to_dict() | {
        key: image[key] for key in ("total_scale", "log_every", "evaluate_every", "checkpoint_every")
    }
    control |= {"start_from": "teacher", "decay": first.decay}
    control |= {"optimizers": {group: first.optimizers[group] for group in ("trunk", "head")}}
    config.control = ConfigDict(control).copy_and_resolve_references()
    config.control.update({"steps": steps, "evaluate_every": steps})
    config.control.decay.at = tuple(at * steps // first.steps for at in first.decay.at)
    config.control.optimizers.head.networks = config.teacher.networks.heads
    teacher, *later = config.recipe
    config.recipe = (teacher, "control", *later)
