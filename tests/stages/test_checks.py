"""Values of a config that no stage accepts."""

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
    ("image.weights.L_cross", -1.0, "L_cross has a weight below 0"),
    ("recipe", (), r"config.recipe is \(\); name each stage once"),
    ("recipe", ("",), "name each stage once, in order"),
    ("recipe", ("teacher", "teacher"), "name each stage once, in order"),
    ("recipe", ("image", "teacher"), r'stage "image" needs "teacher" \(config.image.teacher\); name it before "image"'),
    ("recipe", ("teacher", "imgae"), r'names a stage "imgae", but the config has no section config.imgae'),
    ("image.teacher", "taecher", r'needs "taecher" \(config.image.teacher\)'),
    ("image.stage", "json:loads", r'config.image.stage "json:loads" is no Stage of rgbir_jax'),
    ("image.networks.E_a.kind", "json:loads", r'E_a.kind "json:loads" is no Module'),
]


@pytest.mark.parametrize(("key", "value", "sentence"), WRONG)
def test_a_wrong_value_is_named_when_a_stage_is_built_and_when_a_recipe_is_described(key, value, sentence):
    config = quickstart.small()
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})
    stage = "image" if key.startswith("image.") else "teacher"
    with pytest.raises(UserError, match=sentence):
        stages.build(config, stage, 4)
    config.data_dir = "nowhere"
    with pytest.raises(UserError, match=sentence):
        describe(config)


def test_it_is_refused_before_the_data_is_read(tmp_path):
    config = quickstart.small()
    config.data_dir, config.image.steps = "nowhere", 0
    with pytest.raises(UserError, match=r"config.image.steps is 0"):
        train(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
