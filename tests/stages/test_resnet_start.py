"""ResNets of every stage that has one, started from those of a teacher."""

import dataclasses

import jax
import numpy as np
import pytest

from configs.quickstart import comparators
from rgbir_jax import stages
from rgbir_jax.errors import UserError
from rgbir_jax.training import transfer
from rgbir_jax.training.state import State
from tests.models.drawn import draw_leaves

CLASSES = 4
SYSTEMS = ("bdtr", "agw", "deen", "sdl", "cmgan", "hicmd", "cmpig")
RESNETS = {
    "bdtr": {"rgb", "ir"},
    "agw": {"rgb", "ir", "body"},
    "deen": {"rgb", "ir", "body"},
    "sdl": {"rgb", "ir"},
    "cmgan": {"E"},
    "hicmd": {"E_t_rgb", "E_t_ir", "HFL"},
    "cmpig": {"E_sl", "E_il"},
}


def drawn_state(stage) -> State:
    shapes = jax.eval_shape(stage.init, jax.random.key(0), {})
    state = jax.jit(stage.init)(jax.random.key(0), {})
    drawn = {kind: draw_leaves(getattr(shapes, kind)) for kind in ("params", "batch_stats")}
    return dataclasses.replace(state, **drawn)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_resnet_has_the_layers_of_the_teacher(system):
    config = comparators.get_config(system)
    teacher, stage = (stages.build(config, name, CLASSES) for name in config.recipe[:2])
    assert stage.needs == ("teacher",)
    before = drawn_state(teacher)
    after = jax.jit(stage.init)(jax.random.key(1), {"teacher": before})
    assert set(transfer.resnets(stage)) == RESNETS[system]
    taken = set()
    for network in RESNETS[system]:
        own = after.variables(network) if network in after.params else after.frozen[network]
        for kind, trunk in own.items():
            source = getattr(before, kind)["E_a"]["trunk"]
            shared = trunk["trunk"].keys() & source.keys()
            assert all("non_local" in layer for layer in trunk["trunk"].keys() - shared)
            for layer in shared:
                jax.tree.map(np.testing.assert_array_equal, trunk["trunk"][layer], source[layer])
            taken |= shared
    assert taken == before.params["E_a"]["trunk"].keys()


@pytest.mark.parametrize("system", SYSTEMS)
def test_another_resnet_is_refused(system):
    config = comparators.get_config(system)
    name = config.recipe[1]
    config.teacher.networks.E_a.width = 8
    with pytest.raises(
        UserError, match=rf"{name} starts from teacher: set config.teacher.networks.E_a.width to 16 as "
    ):
        stages.build(config, name, CLASSES)
    config.teacher.networks.E_a.kind = "resnet18"
    with pytest.raises(UserError, match=f"{name} starts from the ResNet-50 of an E_a, and teacher has none"):
        stages.build(config, name, CLASSES)


def test_without_a_stage_to_start_from_they_are_fresh():
    config = comparators.get_config("cmgan")
    config.cmgan.start_from = ""
    config.recipe = ("cmgan",)
    stage = stages.build(config, "cmgan", CLASSES)
    assert stage.needs == ()
    first, second = (jax.jit(stage.init)(jax.random.key(seed), {}) for seed in (0, 1))
    kernels = [state.params["E"]["trunk"]["conv1"]["kernel"] for state in (first, second)]
    assert not np.array_equal(*kernels)


@pytest.mark.parametrize("system", ["bdtr", "cmpig"])
def test_a_resnet_whose_stem_has_two_channels_is_refused(system):
    config = comparators.get_config(system)
    config.teacher.input = "zero_padded"
    with pytest.raises(UserError, match=r'sees images of 2 channels; set config.teacher.input to "rgb" or "grey"'):
        stages.build(config, config.recipe[1], CLASSES)
