"""Random inputs and variables from NumPy, so that no initialiser has to be compiled."""

import jax
import jax.numpy as jnp
import numpy as np

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def drawn(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def draw_leaves(shapes, rng=RNG):
    """Draws values for variables: no bias is 0, no gain is 1, variances are positive, layers keep the scale."""

    def draw(path, leaf):
        values = rng.normal(size=leaf.shape) / np.sqrt(max(np.prod(leaf.shape[:-1]), 1))
        return np.asarray(1 + np.abs(values) if path[-1].key == "var" else values, np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def drawn_like(module, *inputs, **mode):
    """Draws the variables of a module for these inputs."""
    return draw_leaves(jax.eval_shape(lambda *inputs: module.init(KEY, *inputs, **mode), *inputs))
