"""Weights in int8, with which the features are computed in the run's own dtype as before.

Each output channel of a kernel or matrix has its own scale, the largest absolute weight / 127. Biases, scales and
statistics stay float32. benchmarks/results/quantization.json has what this costs.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int8

from rgbir_jax.training.state import State


class Quantized(NamedTuple):
    """A kernel or matrix, values * scale.

    Attributes:
        values: integers in -127..127.
        scale: one per output channel, positive.
    """

    values: Int8[np.ndarray, "*in out"]
    scale: Float32[np.ndarray, "out"]


def quantize(weight: Float[np.ndarray, "*in out"]) -> Quantized:
    """Rounds a kernel or matrix to int8."""
    largest = np.abs(weight).max(tuple(range(weight.ndim - 1)))
    scale = (np.maximum(largest, 1e-12) / 127).astype(np.float32)
    return Quantized(np.round(weight / scale).astype(np.int8), scale)


def quantized(state: State) -> State:
    """Quantizes the parameters that have more than one axis."""
    leaves = jax.device_get(state.params)
    return dataclasses.replace(
        state, params=jax.tree.map(lambda leaf: quantize(leaf) if leaf.ndim > 1 else leaf, leaves)
    )


def dequantized(state: State) -> State:
    """Turns each `Quantized` into float32. Inside a compiled function, what the function holds is int8."""

    def weight(leaf):
        return leaf.values.astype(jnp.float32) * leaf.scale if isinstance(leaf, Quantized) else leaf

    params = jax.tree.map(weight, state.params, is_leaf=lambda leaf: isinstance(leaf, Quantized))
    return dataclasses.replace(state, params=params)
