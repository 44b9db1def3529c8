"""`python in_float64.py train.py ...` runs one of the project's programs with float64 in place of float32.

The gradient of an L1 norm consists of signs. In float32, rounding flips some of them, and ranks change a few iterations
later. In float64, the results of two runs can be compared.
"""

import runpy
import sys

import jax
import jax.numpy as jnp

if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jnp.float32 = jnp.float64  # from here on, the project, Flax and optax use float64
    del sys.argv[0]
    sys.path[0] = "."
    runpy.run_path(sys.argv[0], run_name="__main__")
