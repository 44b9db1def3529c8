"""The two-stem systems, narrow, on drawn people: AGW, its baseline, CAJ, RLE and DEEN.

    python train.py --config quickstart/two_stem:caj --workdir runs/quickstart_caj
    python eval.py --workdir runs/quickstart_caj

Run `make quickstart` first: it draws the people. Presets, as `quickstart/two_stem:NAME`: agw (the default), base, caj,
rle and deen.

Both stems and the body start from the ResNet of the quickstart's teacher, which is trained first:
--config.teacher.from_run runs/quickstart takes it from that run. From random weights each stem would see one modality
only, and these systems are made for ImageNet weights.

Hardware: two CPU cores are enough. 2,400 steps of the teacher and 2,400 of the system.
Score: not measured. The papers have no score on drawn people, and from these the order of the systems need not follow
the published one.
"""

from ml_collections import ConfigDict

from configs import quickstart, sysu_agw, sysu_caj, sysu_deen, sysu_rle
from configs.common import check_preset

PRESETS = {"agw": sysu_agw, "base": sysu_agw, "caj": sysu_caj, "rle": sysu_rle, "deen": sysu_deen}


def get_config(preset: str = "agw") -> ConfigDict:
    """Returns the stage of a full-size recipe after the quickstart's teacher, with its data, widths and rates."""
    check_preset(preset, PRESETS)
    full = PRESETS[preset].get_config(preset)
    (name,) = full.recipe
    config = quickstart.small()
    teacher = config.teacher
    config.recipe = ("teacher", name)
    config.augment.erase.fill = full.augment.erase.fill
    config[name] = stage = full[name]
    stage.start_from = "teacher"
    stage.networks.resnet.update({key: teacher.networks.E_a[key] for key in ("width", "blocks")})
    if any(stage.networks.resnet.non_local):
        stage.networks.resnet.non_local = (0, 1, 1, 0)
    stage.update({key: teacher[key] for key in ("steps", "log_every", "evaluate_every", "checkpoint_every", "decay")})
    for group, own in stage.optimizers.items():
        own.update(config.image.optimizers[group].to_dict() | {"networks": own.networks})
    return ConfigDict({key: value for key, value in config.to_dict().items() if key != "image"})
