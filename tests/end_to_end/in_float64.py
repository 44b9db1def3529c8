"""`python in_float64.py train.py ...` runs one of the project's programs with every float32 of a network as float64.

The gradient of an L1 norm is made of signs. In float32, rounding flips some of them, and a few iterations later ranks
have changed; in float64 what two runs compute can be compared.
"""

import runpy
import sys

import jax
import jax.numpy as jnp

if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jnp.float32 = jnp.float64  # what the project, Flax and optax ask for from here on
    del sys.argv[0]
    sys.path[0] = "."
    runpy.run_path(sys.argv[0], run_name="__main__")
