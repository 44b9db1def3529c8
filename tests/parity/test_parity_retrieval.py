"""JAX and PyTorch compute the same retrieval features from the same uint8 images and variables."""

import jax
import numpy as np
import pytest

from rgbir_jax import stages
from rgbir_jax.inference.features import extractor
from tests.models.drawn import draw_leaves
from tests.parity.layouts import assert_alike, to_torch, torch
from tests.tiny import tiny_config

pytestmark = pytest.mark.slow
CLASSES = 4
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of pixels in 0..1


def random_image_stage(preset, pool):
    """Returns (config, image stage, state with random variables)."""
    config = tiny_config(preset)
    for name in ("teacher", "image"):
        config[name].networks.E_a.pool = pool
    stage = stages.build(config, "image", CLASSES)
    previous = {"teacher": jax.eval_shape(stages.build(config, "teacher", CLASSES).init, jax.random.key(0), {})}
    shapes = jax.eval_shape(stage.init, jax.random.key(0), previous)
    rng = np.random.default_rng(0)
    params, batch_stats = (draw_leaves(tree, rng) for tree in (shapes.params, shapes.batch_stats))
    return config, stage, shapes.replace(step=0, params=params, batch_stats=batch_stats, frozen={}, opt_state={})


def statistics_of(twin, x):
    """Returns running statistics of each head for these images. With random ones, all features are nearly equal."""
    with torch.no_grad():
        twin.networks["E_a"].eval()
        _, pooled = twin.networks["E_a"](x)
        before_norm = {head: twin.networks[head].bottleneck_layer(pooled) for head in twin.own.networks.heads}
    return {head: {"norm": {"mean": y.mean(0).numpy(), "var": y.var(0).numpy()}} for head, y in before_norm.items()}


@pytest.mark.parametrize(("preset", "pool"), [("paper", "max"), ("paper", "avg"), ("dgnet", "max")])
def test_retrieval_features(preset, pool):
    """Features of image and mirror image are added and scaled to length 1; a second head has half the weight."""
    from benchmarks.torch_twin import training

    config, stage, state = random_image_stage(preset, pool)
    # Coarse blocks, because the features of fine noise are nearly equal.
    blocks = np.random.default_rng(1).integers(0, 256, (6, *(side // 16 for side in config.image_size), 3), np.uint8)
    images = blocks.repeat(16, axis=1).repeat(16, axis=2)
    modality = np.array([0, 0, 0, 1, 1, 1], np.int32)
    mean, deviation = (np.float32(values) for values in IMAGENET)
    x = to_torch((np.float32(images) / 255 - mean) / deviation)
    twin = training.ImageTwin(config.image, CLASSES, training.ClassifierTwin(config.teacher, CLASSES))
    twin.load(state)
    state = state.replace(batch_stats=state.batch_stats | statistics_of(twin, x))
    twin.load(state)

    with jax.default_matmul_precision("highest"):
        ours = np.asarray(extractor((stage,), 4)((state,), images.__getitem__, modality))
    theirs = twin.features(x)
    networks = config.image.networks
    assert theirs.shape == (6, sum(networks[head].bottleneck for head in networks.heads))
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, rtol=1e-5)
    assert torch.pdist(theirs).min() > 0.1  # otherwise the comparison would show nothing
    assert_alike(ours, theirs)
