"""Program of test_devices.py: trains a tiny stage for two iterations on all devices, in float64.

Rounding errors are then nine digits smaller than the effect of a missing average, even if gradients nearly cancel.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

CLASSES = 8
RATES = {"hicmd": 1e-4}  # its terms weigh up to 50: at 0.01, D and G overflow in the second iteration


def main(out: str, stage_name: str, preset: str, parts: str) -> None:
    """Writes the state and the metrics to a file, by path."""
    from rgbir_jax import stages
    from rgbir_jax.training import parallel
    from tests import tiny
    from tests.stages import thin_hicmd
    from tests.tiny import drawn_batch

    recipes = {
        "two_stream": tiny.tiny_two_stream_config,
        "rle": tiny.tiny_two_stem_config,
        "sdl": tiny.tiny_sdl_config,
        "cmpig": tiny.tiny_cmpig_config,
        "hicmd": lambda preset: thin_hicmd.tiny_config(),
    }
    config = recipes.get(stage_name, tiny.tiny_config)(preset)
    config.dtype = "float64"
    config.batch.update({"identities": CLASSES, "parts": int(parts)})
    batch = drawn_batch(config, CLASSES)
    if config.batch.parts > 1:
        config.augment.pad = 0
        batch = order_for_devices(batch, config.batch.parts)
    previous = {}
    for name in config.recipe[: config.recipe.index(stage_name) + 1]:
        for group in config[name].optimizers.values():
            # Adam turns a rounding error of a gradient near zero into a whole step; plain SGD shows the gradients.
            group.update({"kind": "sgd", "learning_rate": RATES.get(stage_name, 0.01), "momentum": 0.0})
        config[name].decay.warmup = 0
        if "ramp" in config[name]:
            config[name].ramp.slope = {}  # every term has its full weight from the first iteration
        stage = stages.build(config, name, CLASSES)
        previous[name] = jax.jit(stage.init)(jax.random.key(len(previous)), dict(previous))
    state = parallel.replicate(jax.device_get(previous[stage_name]))
    batch = parallel.shard(jax.device_get(batch))
    step = parallel.pmap(stage.train_step)
    for _ in range(2):
        state, metrics = step(state, batch, parallel.replicate(jax.random.key(2)))
    leaves = jax.tree_util.tree_leaves_with_path({"state": state, "metrics": metrics})
    np.savez(
        out,
        devices=jax.local_device_count(),
        **{jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves},
    )


def order_for_devices(batch: dict, parts: int) -> dict:
    """Orders a batch so that each part has the same identities on any number of devices.

    Each device gets its share of the first part, then its share of the next. The place of an identity, and so its
    random augmentation, still depends on the number of devices. The images are therefore made symmetric: with no
    cropping, augmentation does not change them.
    """
    order = np.arange(CLASSES).reshape(parts, jax.local_device_count(), -1).swapaxes(0, 1).ravel()
    symmetric = np.maximum(batch["image"], batch["image"][..., ::-1, :])
    return jax.tree.map(lambda x: x[order], batch | {"image": symmetric})


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jnp.float32 = jnp.float64  # from here on, the project, Flax and optax use float64
    sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    main(*sys.argv[1:])
