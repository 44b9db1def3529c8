"""Values of a config that no stage accepts."""

import functools
import importlib

import pytest

from configs import quickstart
from rgbir_jax import stages
from rgbir_jax.commands.describe import describe
from rgbir_jax.commands.recipe import train
from rgbir_jax.errors import UserError

WRONG = [
    ("seed", -1, r"config.seed is -1; it must be a whole number of at least 0"),
    ("batch.shots", 0, r"config.batch.shots is 0; it must be a whole number of at least 1"),
    ("batch.parts", 0, "config.batch.parts is 0"),
    ("augment.pad", -1, "config.augment.pad is -1"),
    ("augment.erase.probability", 1.5, "probability is 1.5; it must be a number of at least 0 and at most 1"),
    ("image_size", (64.0, 32), r"config.image_size is \(64.0, 32\); it must hold a whole number of at least 1"),
    ("image_size", (64,), r"config.image_size \(64,\) is not \(height, width\)"),
    ("teacher.steps", 0, "config.teacher.steps is 0; it must be a whole number of at least 1"),
    ("teacher.steps", -5, "config.teacher.steps is -5"),
    ("teacher.networks.E_a.width", 0, "config.teacher.networks.E_a.width is 0"),
    ("teacher.networks.E_a.blocks", (1, 0), r"blocks is \(1, 0\); it must hold a whole number"),
    ("image.optimizers.trunk.learning_rate", -0.1, "learning_rate is -0.1; it must be a number of at least 0"),
    ("image.ramp.slope.L_dis", 0.0, "L_dis has a weight below 0 or a slope that is not above 0"),
    ("image.weights.L_cross", -1.0, "config.image.weights.L_cross is -1.0; it must be a number of at least 0"),
    ("image.weights.L_cross", float("nan"), "config.image.weights.L_cross is nan; it must be a number"),
    ("image.ramp.slope.L_dis", "x", 'config.image.ramp.slope.L_dis is "x"; it must be a number'),
    ("patience_nonfinite", 0, "config.patience_nonfinite is 0; it must be a whole number of at least 1"),
    ("seed", 2**40, "and at most 4,294,967,295"),
    ("teacher.steps", 10**12, "config.teacher.steps is 1000000000000; .* at most 2,147,483,647"),
    ("image_size", 64, r"config.image_size 64 is not \(height, width\)"),
    ("image_size", (10**6, 10**6), "it must hold a whole number of at least 1 and at most 10,000"),
    ("image_size", (66, 34), "G makes images whose sides are multiples of 4; set 68 in place of 66"),
    ("modalities", 0, r"config.modalities is 0; it must be a tuple of any number, written \(1, 2\)"),
    ("modalities", (0, 2), r"config.modalities \(0, 2\) is unknown; choose \(0, 1\)"),
    ("dtype", 32, "config.dtype is 32; it must be a text"),
    ("source", "disk", 'config.source "disk" is unknown; choose "tf_data" or "memory"'),
    ("data_dir", "", 'config.data_dir is ""; it must be a text'),
    ("resnet50", 5, "config.resnet50 is 5; it must be a text, or empty"),
    ("recipe", "teacher", 'config.recipe is "teacher"; it must be a tuple'),
    ("batch", 4, "config.batch is 4; it must be a section"),
    ("teacher", 4, "config.teacher is 4; it must be a section"),
    ("augment.erase.area", 0.2, "config.augment.erase.area is 0.2; it must be a tuple of 2"),
    ("teacher.decay.at", 5, "config.teacher.decay.at is 5; it must be a tuple"),
    ("teacher.optimizers.trunk.learning_rate", float("inf"), "learning_rate is inf; it must be a number of at least 0"),
    ("teacher.optimizers.trunk.b1", 1.0, "b1 is 1.0; it must be a number of at least 0 and below 1"),
    (
        "teacher.networks.E_a.blocks",
        (1, 1, 1),
        r"a ResNet has 4 stages; set blocks to as many numbers, not \(1, 1, 1\)",
    ),
    ("teacher.networks.E_a.widht", 4, "config.teacher.networks.E_a.widht is unknown to ResNet50; choose .*width"),
    ("teacher.networks.heads", ("nose",), r"heads is \('nose',\), and the losses need a head"),
    ("image.weights.L_fine_orig", 1.0, "L_fine_orig needs a second head: add head_fine to config.image.networks.heads"),
    ("image.freeze_appearance", "no", 'config.image.freeze_appearance is "no"; it must be True or False'),
    (
        "teacher.networks.heads",
        ("head", "nose"),
        "heads names nose, and there is no section config.teacher.networks.nose",
    ),
    ("teacher.stage", None, "config.teacher.stage is None; it must be a text"),
    ("recipe", (), r"config.recipe is \(\); name each stage once"),
    ("recipe", ("",), "name each stage once, in order"),
    ("recipe", ("teacher", "teacher"), "name each stage once, in order"),
    ("recipe", ("image", "teacher"), r'stage "image" needs "teacher" \(config.image.teacher\); name it before "image"'),
    ("recipe", ("teacher", "imgae"), r'names a stage "imgae", but the config has no section config.imgae'),
    ("batch.shots", (2,), r"config.batch.shots is \(2,\); it must be a whole number of at least 1"),
    ("teacher.steps", (1, 2), r"config.teacher.steps is \(1, 2\); it must be a whole number"),
    ("teacher.decay.factor", (), r"config.teacher.decay.factor is \(\); it must be a number"),
    ("teacher.networks", (), r"config.teacher.networks is \(\); it must be a section of the config"),
    ("teacher.networks.E_a", 4, "config.teacher.networks.E_a is 4; it must be a section"),
    ("image.networks.G", None, "config.image.networks.G is None; it must be a section"),
    ("teacher.networks.head", 4, "config.teacher.networks.head is 4; it must be a section"),
    ("teacher.optimizers.trunk", 0.1, "config.teacher.optimizers.trunk is 0.1; it must be a section"),
    ("teacher.decay", None, "config.teacher.decay is None; it must be a section"),
    ("augment.erase", 0.5, "config.augment.erase is 0.5; it must be a section"),
    ("batch.shots", {}, "config.batch.shots is a section; it must be a value"),
    ("image_size", {}, "config.image_size is a section; it must be a value"),
    ("teacher.stage", {}, "config.teacher.stage is a section; it must be a value"),
    ("image.detach_appearance", {"a": 1}, "config.image.detach_appearance is a section; it must be a value"),
    ("teacher.optimizers.trunk.learning_rate", {}, "trunk.learning_rate is a section; it must be a value"),
    ("image.weights.L_dis", {}, "config.image.weights.L_dis is a section; it must be a value"),
    ("teacher.optimizers.trunk.networks", (2,), r"trunk.networks is \(2,\); it must hold texts"),
    ("recipe", (1, 2), r"config.recipe is \(1, 2\); it must hold texts"),
    ("patience_nonfinite", {}, "config.patience_nonfinite is a section; it must be a value"),
    ("image.triplet_on", "phi", 'config.image.triplet_on "phi" is unknown; choose "logits" or "pooled"'),
    ("image.teacher", "taecher", r'needs "taecher" \(config.image.teacher\)'),
    ("image.stage", "json:loads", r'config.image.stage "json:loads" is no Stage of rgbir_jax'),
    ("image.networks.E_a.kind", "json:loads", r'E_a.kind "json:loads" is no Module'),
]


@pytest.mark.parametrize(("key", "value", "sentence"), WRONG)
def test_a_wrong_value_is_named_when_a_stage_is_built_and_when_a_recipe_is_described(key, value, sentence):
    config = quickstart.small()
    with config.ignore_type(), config.unlocked():
        section, _, last = key.rpartition(".")
        functools.reduce(getattr, section.split(".") if section else (), config)[last] = value
    stage = "image" if key.startswith("image") else "teacher"
    with pytest.raises(UserError, match=sentence):
        stages.build(config, stage, 4)
    config.data_dir = config.data_dir and "nowhere"
    with pytest.raises(UserError, match=sentence):
        describe(config)


@pytest.mark.parametrize(
    "key",
    [
        "protocol",
        "batch.shots",
        "augment.pad",
        "augment.erase.area",
        "teacher.networks.E_a.kind",
        "teacher.networks.E_a",
        "teacher.decay.at",
        "teacher.total_scale",
    ],
)
def test_a_value_that_is_not_there_is_named(key):
    config = quickstart.small()
    section, _, last = key.rpartition(".")
    delattr(functools.reduce(getattr, section.split(".") if section else (), config), last)
    with pytest.raises(UserError, match=rf"the config has no config.{key}; configs/sysu_image.py shows"):
        stages.build(config, "teacher", 4)


WITH_A_DEFAULT = {"classifier", "start_from", "teacher", "transfer_from", "reads"}  # names of stages and runs
WITH_A_DEFAULT |= {"input", "triplet_on", "ramp", "pictures_every"}
COMPARATORS = ("best", "bdtr", "sdl", "cmpig", "hicmd", "cmgan", "zero_padding", "rle", "deen")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [*(f"comparators:{preset}" for preset in COMPARATORS), "embedding"])
def test_every_value_of_a_stage_is_looked_for_when_it_is_built(recipe):
    """Without one, training would stop at the stage's first iteration, after the stages before it."""
    module, _, preset = recipe.partition(":")
    config = importlib.import_module(f"configs.quickstart.{module}").get_config(*([preset] if preset else []))
    for name in config.recipe:
        for key in set(config[name]) - WITH_A_DEFAULT:
            without = config.copy_and_resolve_references()
            del without[name][key]
            with pytest.raises(UserError, match=rf"the config has no config.{name}.{key}; "):
                stages.build(without, name, 4)


@pytest.mark.parametrize("key", ["patience_nonfinite", "pictures_every"])
def test_a_value_that_only_training_reads_is_named_before_the_data_is_read(key, tmp_path):
    config = quickstart.small()
    config.data_dir = "nowhere"
    delattr(config.image if key in config.image else config, key)
    with pytest.raises(UserError, match=rf"the config has no config.(image.)?{key}; "):
        train(config, str(tmp_path / "run"))


def test_it_is_refused_before_the_data_is_read(tmp_path):
    config = quickstart.small()
    config.data_dir, config.image.steps = "nowhere", 0
    with pytest.raises(UserError, match=r"config.image.steps is 0"):
        train(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
