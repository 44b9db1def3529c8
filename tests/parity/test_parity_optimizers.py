"""Our optimisers and PyTorch's change the same parameters in the same way."""

import jax.numpy as jnp
import numpy as np
import pytest

from configs import sysu_image
from rgbir_jax.training.optimizers import optimizer
from tests.parity.layouts import assert_alike, torch

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("group", ["generation", "discrimination", "trunk", "head"])
def test_three_steps(group):
    """The learning rates are the paper's. L2 is 100 times larger, so that a decay in the wrong place shows."""
    from benchmarks.torch_twin import training

    config = sysu_image.get_config().image.optimizers[group]
    config.l2 = 100 * config.l2
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(50,)).astype(np.float32), rng.normal(size=(3, 50)).astype(np.float32)

    rule = optimizer(config, lambda step: config.learning_rate)
    ours = jnp.asarray(start)
    state = rule.init(ours)
    theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
    torch_rule = training.optimizer(config, [theirs])
    for gradient in gradients:
        update, state = rule.update(jnp.asarray(gradient), state, ours)
        ours += update
        theirs.grad = torch.from_numpy(gradient.copy())
        torch_rule.step()
        moved = np.abs(np.asarray(ours) - start).mean()
        assert_alike(ours, theirs, tolerance=1e-3 * moved)
