"""Full-width networks and their PyTorch twins give the same outputs for the same weights and images."""

import jax
import pytest

from configs import sysu_image
from rgbir_jax.stages.image import ImageSystem
from tests.models.drawn import drawn, drawn_like
from tests.parity.layouts import assert_alike, to_torch, torch

pytestmark = pytest.mark.slow
CLASSES = 395


def both(preset, name, *inputs, train=None, pool="max"):
    """Runs one network and its twin at the paper's width.

    Returns:
        (linen variables, outputs, updated statistics, the twin, the twin's outputs).
    """
    from benchmarks.torch_twin import training, weights

    config = sysu_image.get_config(preset)
    config.dtype = "float32"
    assert config.image.networks.E_a.pool == "max"
    config.image.networks.E_a.pool = pool
    module = ImageSystem.build(config, "image", CLASSES).networks[name].module
    if name == "E_a":
        module = module.clone(trunk=module.trunk.clone(axis_name=None))
    elif name.startswith("head"):
        module = module.clone(dropout=0.0, axis_name=None)
    mode = {} if train is None else {"train": train}
    variables = drawn_like(module, *inputs, **mode)
    updated = {}
    with jax.default_matmul_precision("highest"):
        if train:
            apply = jax.jit(lambda v, *x: module.apply(v, *x, train=True, mutable=["batch_stats"]))
            ours, updated = apply(variables, *inputs)
        else:
            ours = jax.jit(lambda v, *x: module.apply(v, *x, **mode))(variables, *inputs)

    for head in config.image.networks.heads:
        config.image.networks[head].dropout = 0.0
    teacher = training.ClassifierTwin(config.teacher, CLASSES)
    twin = training.ImageTwin(config.image, CLASSES, teacher).networks[name].train(bool(train))
    weights.load(twin, variables["params"], variables.get("batch_stats"))
    with torch.set_grad_enabled(False):
        theirs = twin(*map(to_torch, inputs))
    return variables, ours, updated, twin, theirs


def test_structure_encoder():
    _, ours, _, _, theirs = both("paper", "E_s", drawn(2, 256, 128, 1))
    assert_alike(ours, theirs)


def test_generator():
    _, ours, _, _, theirs = both("paper", "G", drawn(2, 4, 2048), drawn(2, 64, 32, 128))
    assert_alike(ours, theirs)


@pytest.mark.parametrize("preset", ["paper", "dgnet"])
def test_discriminator(preset):
    _, ours, _, _, theirs = both(preset, "D", drawn(2, 256, 128, 3))
    assert len(ours) == len(theirs) == {"paper": 1, "dgnet": 3}[preset]
    for our_map, their_map in zip(ours, theirs, strict=True):
        assert_alike(our_map, their_map)


@pytest.mark.parametrize(
    ("preset", "train", "pool"), [("paper", True, "max"), ("dgnet", False, "max"), ("paper", False, "avg")]
)
def test_appearance_encoder(preset, train, pool):
    _, ours, updated, twin, theirs = both(preset, "E_a", drawn(2, 256, 128, 3), train=train, pool=pool)
    for our, their in zip(ours, theirs, strict=True):
        assert_alike(our, their)
    if train:
        statistics = updated["batch_stats"]["trunk"]["layer4_2_bn3"]
        assert_alike(statistics["mean"], twin.trunk.layer4[2].bn3.running_mean)


@pytest.mark.parametrize(
    ("preset", "head", "train"), [("paper", "head", True), ("paper", "head", False), ("dgnet", "head_fine", True)]
)
def test_identity_head(preset, head, train):
    variables, ours, updated, twin, theirs = both(preset, head, drawn(6, 2048), train=train)
    for our, their in zip(ours, theirs, strict=True):
        assert_alike(our, their)
    if train:
        assert_alike(updated["batch_stats"]["norm"]["mean"], twin.norm.running_mean)
        # PyTorch's running variance averages the unbiased variance of each batch: 6 / 5 of ours.
        before = variables["batch_stats"]["norm"]["var"]
        unbiased = 0.9 * before + (updated["batch_stats"]["norm"]["var"] - 0.9 * before) * 6 / 5
        assert_alike(unbiased, twin.norm.running_var)
