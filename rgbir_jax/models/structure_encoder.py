"""The structure encoder E_s (Table 3)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import Conv, ResidualBlock, instance_norm, leaky_relu


def grey(x: Float[Array, "n height width 3"]) -> Float[Array, "n height width 1"]:
    """Returns the structure encoder's input: no colour can get into s (section 3.3)."""
    return jnp.mean(x, axis=-1, keepdims=True)


class StructureEncoder(nn.Module):
    """A shallow network with atrous spatial pyramid pooling. A final InstanceNorm keeps the codes from shrinking.

    Attributes:
        width: number of channels of the first convolution; 16 in the paper.
        code: number of channels of the structure code; 128 in the paper.
        dtype: dtype of the computation.
    """

    width: int = 16
    code: int = 128
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, grey: Float[Array, "n h w 1"]) -> Float[Array, "n h/4 w/4 code"]:
        """Encodes grey images as structure codes s."""

        def normed(x, features, kernel, stride=1, dilation=1):
            return instance_norm(Conv(features, kernel, stride, dilation, dtype=self.dtype)(x))

        def block(x, features, kernel, stride=1):
            return leaky_relu(normed(x, features, kernel, stride))

        width = self.width
        x = block(grey.astype(self.dtype), width, 3, stride=2)
        x = block(x, 2 * width, 3)
        x = block(x, 2 * width, 3)
        x = block(x, 4 * width, 3, stride=2)
        for _ in range(4):
            x = ResidualBlock(dtype=self.dtype)(x)
        # The four branches have no activation after their last convolution.
        pyramid = [normed(x, 2 * width, 1)]
        pyramid += [normed(block(x, 2 * width, 1), 2 * width, 3, dilation=dilation) for dilation in (3, 6, 9)]
        x = Conv(self.code, 1, dtype=self.dtype)(jnp.concatenate(pyramid, axis=-1))
        return instance_norm(x).astype(jnp.float32)
