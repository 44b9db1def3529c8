"""Run by test_devices.py: two iterations of the tiny image system on every device there is."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import flax.linen as nn
import jax
import numpy as np

from rgbir_jax import stages
from rgbir_jax.training import parallel
from tests.tiny import drawn_batch, tiny_config

out, preset = sys.argv[1:]
# Smooth rectifiers: in a network this small, one unit on the other side of a kink moves gradients by percents.
nn.relu = nn.softplus
nn.leaky_relu = lambda x, negative_slope: nn.softplus(x) + negative_slope * x
config = tiny_config(preset)
config.image.ramp.terms = ()
for name in config.recipe:
    for group in config[name].optimizers.values():
        # Adam turns a rounding error of a gradient near zero into a whole step; plain SGD shows the gradients.
        group.update({"kind": "sgd", "learning_rate": 0.01, "momentum": 0.0})
teacher = jax.jit(stages.build(config, "teacher", 4).init)(jax.random.key(1), {})
stage = stages.build(config, "image", 4)
state = parallel.replicate(jax.device_get(jax.jit(stage.init)(jax.random.key(0), {"teacher": teacher})))
batch = parallel.shard(jax.device_get(drawn_batch(config)))
step = parallel.pmap(stage.train_step)
for _ in range(2):
    state, metrics = step(state, batch, parallel.replicate(jax.random.key(2)))
leaves = jax.tree_util.tree_leaves_with_path({"state": state, "metrics": metrics})
np.savez(
    out,
    devices=jax.local_device_count(),
    **{jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves},
)
