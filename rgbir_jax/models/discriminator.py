"""The discriminator D (Table 5): maps of real/swapped logits at one to three scales."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import Conv, ResidualBlock, halve, leaky_relu


def _no_norm(x):
    return x


class _Scale(nn.Module):
    """The discriminator network of one scale."""

    width: int
    init_std: float
    dtype: DTypeLike
    activation: Callable[[Array], Array]

    @nn.compact
    def __call__(self, x):
        small, rectified = nn.initializers.normal(self.init_std), self.activation
        conv = partial(Conv, kernel_init=small, dtype=self.dtype)
        x = rectified(conv(self.width, 1)(x))
        x = rectified(conv(self.width, 3)(x))
        x = rectified(conv(self.width, 3, 2)(x))
        x = rectified(conv(self.width, 3)(x))
        x = rectified(conv(2 * self.width, 3, 2)(x))
        for _ in range(4):
            x = ResidualBlock(_no_norm, small, self.dtype, rectified)(x)
        return conv(1, 1)(x).astype(jnp.float32)


class Discriminator(nn.Module):
    """Applies one network per scale: to the image, to its half and to its quarter.

    Attributes:
        width: number of channels of the first convolution; 32 in the paper.
        num_scales: number of scales; 1 in the paper, 3 in DG-Net's released system.
        init_std: standard deviation of the initial kernels; 0.02 in DG-Net. Narrow layers sum over fewer channels and
            need a larger value: with 0.02 their signal fades and D hardly learns.
        dtype: dtype of the computation.
        activation: the rectifier.
    """

    width: int = 32
    num_scales: int = 1
    init_std: float = 0.02
    dtype: DTypeLike = jnp.float32
    activation: Callable[[Array], Array] = leaky_relu

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"]) -> list[Float[Array, "n _h _w 1"]]:
        """Returns float32 logits at a quarter of each scale's height and width; positive means real."""
        maps = []
        for scale in range(self.num_scales):
            if scale:
                x = halve(x)
            network = _Scale(self.width, self.init_std, self.dtype, self.activation, name=f"scale_{scale}")
            maps.append(network(x.astype(self.dtype)))
        return maps
