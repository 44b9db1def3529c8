"""The generator G (Table 4): decodes structure codes, modulated by appearance codes through AdaIN."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import (
    Conv,
    LayerNorm,
    ResidualBlock,
    adaptive_instance_norm,
    kaiming,
    leaky_relu,
)


class MLP(nn.Module):
    """Maps a code, or a slice of it, to scales and biases of AdaIN layers; two hidden layers.

    Attributes:
        hidden: width of both hidden layers.
        features: number of outputs.
        dtype: dtype of the matrix products.
        activation: the rectifier after each hidden layer.
    """

    hidden: int
    features: int
    dtype: DTypeLike = jnp.float32
    activation: Callable[[Array], Array] = leaky_relu

    @nn.compact
    def __call__(self, x: Float[Array, "n channels"]) -> Float[Array, "n features"]:
        """Returns the scales or biases, float32."""
        dense = partial(nn.Dense, kernel_init=kaiming, dtype=self.dtype)
        x = self.activation(dense(self.hidden)(x))
        x = self.activation(dense(self.hidden)(x))
        return dense(self.features)(x).astype(jnp.float32)


class Generator(nn.Module):
    """Residual blocks with AdaIN, one per slice of the appearance code, then two 2x upsampling steps.

    Attributes:
        width: number of channels of the structure code and of the residual blocks; 128 in the paper.
        mlp: width of the MLPs' hidden layers.
        dtype: dtype of the computation.
        activation: the rectifier.
    """

    width: int = 128
    mlp: int = 512
    dtype: DTypeLike = jnp.float32
    activation: Callable[[Array], Array] = leaky_relu

    @nn.compact
    def __call__(
        self, a: Float[Array, "n slices channels"], s: Float[Array, "n h w width"]
    ) -> Float[Array, "n 4*h 4*w 3"]:
        """Returns normalised images x = G(a, s), float32."""
        width, rectified = self.width, self.activation
        x = s.astype(self.dtype)
        for i in range(a.shape[1]):
            # Each MLP's output is [first layer | second layer] of the block.
            scales = MLP(self.mlp, 2 * width, self.dtype, rectified, name=f"scale_{i}")(a[:, i])
            biases = MLP(self.mlp, 2 * width, self.dtype, rectified, name=f"bias_{i}")(a[:, i])
            layers = zip(jnp.split(scales, 2, axis=1), jnp.split(biases, 2, axis=1), strict=True)
            x = ResidualBlock(
                lambda x, layers=layers: adaptive_instance_norm(x, *next(layers)),
                dtype=self.dtype,
                activation=rectified,
            )(x)
        for features in (width // 2, width // 4):
            x = Conv(features, 5, doubles=True, dtype=self.dtype)(x)
            x = rectified(LayerNorm()(x))
        for _ in range(2):
            x = rectified(Conv(width // 4, 3, dtype=self.dtype)(x))
        return Conv(3, 1, dtype=self.dtype)(x).astype(jnp.float32)
