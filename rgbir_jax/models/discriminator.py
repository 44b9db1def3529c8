"""The discriminator D (Table 5): a map of logits, real or swapped, at each of one to three scales."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import Conv, ResidualBlock, halve, leaky_relu


def _no_norm(x):
    return x


class _Scale(nn.Module):
    """The network at one scale."""

    width: int
    init_std: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x):
        small = nn.initializers.normal(self.init_std)
        conv = partial(Conv, kernel_init=small, dtype=self.dtype)
        x = leaky_relu(conv(self.width, 1)(x))
        x = leaky_relu(conv(self.width, 3)(x))
        x = leaky_relu(conv(self.width, 3, 2)(x))
        x = leaky_relu(conv(self.width, 3)(x))
        x = leaky_relu(conv(2 * self.width, 3, 2)(x))
        for _ in range(4):
            x = ResidualBlock(_no_norm, small, self.dtype)(x)
        return conv(1, 1)(x).astype(jnp.float32)


class Discriminator(nn.Module):
    """Networks of their own for the image, its half and its quarter.

    Attributes:
        width: channels of the first convolution; 32 in the paper.
        num_scales: 1 in the paper, 3 in DG-Net's released system.
        init_std: standard deviation of the kernels at the start; 0.02 in DG-Net. Narrow layers, which add up fewer
            channels, need more: at 0.02 their signal fades and D hardly learns.
        dtype: of the computation.
    """

    width: int = 32
    num_scales: int = 1
    init_std: float = 0.02
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"]) -> list[Float[Array, "n _h _w 1"]]:
        """Logits at a quarter of each scale's sides, float32; positive for real."""
        maps = []
        for scale in range(self.num_scales):
            if scale:
                x = halve(x)
            maps.append(_Scale(self.width, self.init_std, self.dtype, name=f"scale_{scale}")(x.astype(self.dtype)))
        return maps
