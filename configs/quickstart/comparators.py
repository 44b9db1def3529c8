"""The systems of Tables 7 and 8 and today's baselines, narrow, on drawn people, with the same budget of images.

    make quickstart-comparators

or one of them, after `make drawn`:

    python train.py --config quickstart/comparators:agw --workdir runs/quickstart_agw
    python eval.py --workdir runs/quickstart_agw

Presets, as `quickstart/comparators:NAME`:

    best, paper                the image system; `best` trains the control too: the teacher, trained further with L_id
    bdtr                       M_bdtr
    base, agw, caj, rle, deen  the two-stem systems (the default: agw)
    sdl, cmpig, hicmd, cmgan   as in configs/sysu_NAME.py
    one_stream, zero_padding   networks for both modalities with a linear classifier

Each is trained on 2,850 batches of 16 images: 2,400 train the quickstart's teacher, and 450 the system itself. Its
ResNets start from the teacher's, which takes the place of ImageNet weights: two networks that each see one modality
would have little in common after so few batches. --config.teacher.from_run RUN takes the teacher from another run.
one_stream and zero_padding start from random weights and take the whole budget.

Hardware: two CPU cores are enough.
Score: see docs/results.md. The papers have no score on drawn people, and the order of the systems need not follow the
published one.
"""

from ml_collections import ConfigDict

from configs import (
    quickstart,
    sysu_agw,
    sysu_caj,
    sysu_cmgan,
    sysu_cmpig,
    sysu_deen,
    sysu_hicmd,
    sysu_rle,
    sysu_sdl,
    sysu_two_stream,
    sysu_zero_padding,
)
from configs.common import check_preset

BUDGET = 450  # iterations after the teacher
IMAGE = {"drawing": 360, "image": 90}
CMPIG = {"generation": 270, "cmpig": 180}
TWO_STREAMS = {"bdtr": sysu_two_stream, "sdl": sysu_sdl}
TWO_STEM = {"base": sysu_agw, "agw": sysu_agw, "caj": sysu_caj, "rle": sysu_rle, "deen": sysu_deen}
ONE_NETWORK = {"one_stream": "one_stream", "zero_padding": "resnet50"}


def get_config(preset: str = "agw") -> ConfigDict:
    """Returns the stages of a full-size recipe after the quickstart's teacher, with its data, widths and rates."""
    config = _recipe(preset)
    config.source = "memory"  # the same images, without the import of TensorFlow in each program
    return config


def _recipe(preset: str) -> ConfigDict:
    systems = {"cmpig": _cmpig, "hicmd": _hicmd, "cmgan": _cmgan}
    check_preset(preset, ("best", "paper", *TWO_STREAMS, *systems, *TWO_STEM, *ONE_NETWORK))
    if preset in ("best", "paper"):
        return _image(preset)
    if preset in ONE_NETWORK:
        return _one_network(ONE_NETWORK[preset])
    if preset in TWO_STREAMS:
        return _two_streams(TWO_STREAMS[preset].get_config())
    if preset in TWO_STEM:
        return _two_stem(TWO_STEM[preset].get_config(preset))
    return systems[preset]()


def _image(preset: str) -> ConfigDict:
    config = quickstart.small(preset)
    image = config.image
    image.update(_every(IMAGE["image"]))
    image.decay.at = (int(0.8 * image.steps),)
    quickstart.add_drawing(config, IMAGE["drawing"])
    # As in the quickstart, the late terms have their whole weight after half of the stage.
    image.ramp.slope = ConfigDict({term: 2 * image.weights[term] / image.steps for term in image.ramp.slope})
    if preset == "best":
        quickstart.add_control(config)
    return config


def _every(steps: int) -> dict:
    """Returns the lengths and intervals of a stage."""
    return {
        "steps": steps,
        "log_every": 50,
        "pictures_every": 0,
        "evaluate_every": 0,
        "checkpoint_every": 500,
        "decay": {"at": (int(0.75 * steps),), "factor": 0.1, "warmup": 20},
    }


def _after_teacher(full: ConfigDict, **steps: int) -> ConfigDict:
    """Returns a recipe of the quickstart's teacher and, after it, the stages of a full-size recipe.

    Args:
        full: the full-size recipe.
        steps: the iterations of each of its stages.
    """
    small = quickstart.small()
    config = ConfigDict({key: value for key, value in small.to_dict().items() if key != "image"})
    config.recipe = ("teacher", *full.recipe)
    for name, iterations in steps.items():
        config[name] = full[name].to_dict() | _every(iterations)
    config[full.recipe[0]].start_from = "teacher"
    return config


def _narrow(config: ConfigDict, resnet: ConfigDict) -> None:
    """Gives a ResNet the width and the blocks of the teacher's."""
    resnet.update({key: config.teacher.networks.E_a[key] for key in ("width", "blocks")})


def _rates(stage: ConfigDict, **like: str) -> None:
    """Gives the optimiser groups of a stage the kinds and rates of those of the quickstart's image stage.

    Args:
        stage: the section of the stage.
        like: by group, the other group if its name differs.
    """
    small = quickstart.small().image.optimizers
    for name, group in stage.optimizers.items():
        group.update(small[like.get(name, name)].to_dict() | {"networks": group.networks})


def _two_streams(full: ConfigDict) -> ConfigDict:
    (name,) = full.recipe
    config = _after_teacher(full, **{name: BUDGET})
    stage = config[name]
    _narrow(config, stage.networks.stream)
    stage.networks.head.bottleneck = config.teacher.networks.head.bottleneck
    _rates(stage)
    return config


def _two_stem(full: ConfigDict) -> ConfigDict:
    (name,) = full.recipe
    config = _after_teacher(full, **{name: BUDGET})
    config.augment.erase.fill = full.augment.erase.fill
    stage = config[name]
    _narrow(config, stage.networks.resnet)
    if any(stage.networks.resnet.non_local):
        stage.networks.resnet.non_local = (0, 1, 1, 0)
    _rates(stage)
    return config


def _cmgan() -> ConfigDict:
    config = _after_teacher(sysu_cmgan.get_config(), cmgan=BUDGET)
    stage = config.cmgan
    _narrow(config, stage.networks.E)
    stage.networks.head.hidden, stage.networks.D.hidden = (128,), (250, 125)
    _rates(stage, features="trunk", discrimination="head")
    return config


def _cmpig() -> ConfigDict:
    config = _after_teacher(sysu_cmpig.get_config(), **CMPIG)
    generation, recognition = config.generation, config.cmpig
    _narrow(config, generation.networks.E)
    generation.networks.style.update({"width": 8, "code": 32})
    generation.networks.G.mlp = 64
    # Twins have half of the images' size: patches of one scale.
    generation.networks.D.update({"width": 16, "num_scales": 1, "init_std": 0.1})
    generation.drawn.update({"identities": 3, "shots": 2})
    _rates(generation)
    _rates(recognition, recognition="trunk")
    return config


def _hicmd() -> ConfigDict:
    config = _after_teacher(sysu_hicmd.get_config(), hicmd=BUDGET)
    stage = config.hicmd
    networks = stage.networks
    for resnet in (networks.E_t, networks.HFL):
        _narrow(config, resnet)
    networks.E_p.update({"width": 8, "code": 64})
    networks.G.mlp = 64
    # Narrow, because L_R1 needs the derivatives of D's gradient.
    networks.D.update({"width": 8, "num_scales": 1, "init_std": 0.1})
    networks.head.update({"bottleneck": 256, "triplet": 128})
    _rates(stage, recognition="trunk", mixture="trunk")
    config.batch.update({"identities": 8, "shots": 1})  # pairs of images
    return config


def _one_network(preset: str) -> ConfigDict:
    """Returns a recipe of one stage, the quickstart's teacher with another input, without a bottleneck, and longer."""
    small = quickstart.small()
    config = ConfigDict({key: value for key, value in small.to_dict().items() if key != "image"})
    config.recipe = ("one_stream",)
    full = sysu_zero_padding.get_config(preset).one_stream
    config.one_stream = full.to_dict() | _every(small.teacher.steps + BUDGET)
    stage = config.one_stream
    _narrow(config, stage.networks.E_a)
    stage.networks.E_a.last_stride = 1
    for name, group in stage.optimizers.items():
        group.update(small.teacher.optimizers[name].to_dict())
    return ConfigDict({key: value for key, value in config.to_dict().items() if key != "teacher"})
