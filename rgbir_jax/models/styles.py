"""cmPIG's generation: an encoder of styles, a decoder that draws content in a style, and a discriminator.

There is one of each per modality. Images are in −1..1.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.errors import UserError
from rgbir_jax.models.generator import MLP
from rgbir_jax.models.layers import Conv, LayerNorm, ResidualBlock, adaptive_instance_norm, halve, leaky_relu

BLOCKS = 2  # residual blocks of the decoder
HALVINGS = 4  # strided convolutions of the style encoder and of each scale of the discriminator


class StyleEncoder(nn.Module):
    """Four strided convolutions after a first one, and the mean over positions.

    Attributes:
        width: number of channels of the first convolution; 32 in the released code.
        code: number of dimensions of a style; 128 in the released code.
        dtype: dtype of the convolutions.
    """

    width: int = 32
    code: int = 128
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"]) -> Float[Array, "n code"]:
        """Returns styles, float32."""
        conv = partial(Conv, dtype=self.dtype)
        x = nn.relu(conv(self.width, 7)(x.astype(self.dtype)))
        for times in (2, 4, 4, 4):
            x = nn.relu(conv(times * self.width, 4, 2)(x))
        pooled = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        return nn.Dense(self.code, dtype=self.dtype, name="code")(pooled).astype(jnp.float32)


class StyledDecoder(nn.Module):
    """Residual blocks with AdaIN, then one 2x upsampling step.

    Attributes:
        mlp: width of the hidden layers of the MLP that maps a style to shifts and scales; 256 in the released code.
        dtype: dtype of the computation.
    """

    mlp: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, content: Float[Array, "n h w c"], style: Float[Array, "n code"]) -> Float[Array, "n 2*h 2*w 3"]:
        """Returns images in −1..1, float32."""
        width, x = content.shape[-1], content.astype(self.dtype)
        # Shift, then scale, of the first layer, then of the second one, and so on.
        numbers = MLP(self.mlp, 2 * BLOCKS * 2 * width, self.dtype, nn.relu, name="mlp")(style)
        layers = iter(jnp.split(numbers, 2 * BLOCKS, axis=1))

        def norm(x: Array) -> Array:
            shift, scale = jnp.split(next(layers), 2, axis=1)
            return adaptive_instance_norm(x, scale, shift)

        for _ in range(BLOCKS):
            x = ResidualBlock(norm, dtype=self.dtype, activation=nn.relu)(x)
        x = nn.relu(LayerNorm()(Conv(width // 2, 5, doubles=True, dtype=self.dtype)(x)))
        return jnp.tanh(Conv(3, 7, dtype=self.dtype)(x).astype(jnp.float32))


class PatchDiscriminator(nn.Module):
    """Applies one network per scale: four strided convolutions, then a logit per position.

    Attributes:
        width: number of channels of the first convolution; 32 in the released code.
        num_scales: number of scales, each of half the size of the one before; 2 in the released code.
        init_std: standard deviation of the initial kernels; 0.02 in the released code.
        dtype: dtype of the computation.
    """

    width: int = 32
    num_scales: int = 2
    init_std: float = 0.02
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"]) -> list[Float[Array, "n _h _w 1"]]:
        """Returns float32 logits at a sixteenth of each scale's height and width; positive means real.

        Raises:
            UserError: for images that are too small for so many scales.
        """
        least = 2 ** (HALVINGS + self.num_scales - 1)
        if min(x.shape[1:3]) < least:
            raise UserError(
                f"D has {self.num_scales} scales, which need images of {least} pixels or more, and these are "
                f"{x.shape[1]}x{x.shape[2]}; set a larger config.image_size, or fewer num_scales of D."
            )
        maps = []
        for scale in range(self.num_scales):
            x = halve(x) if scale else x
            maps.append(_logits(x.astype(self.dtype), self.width, self.init_std, self.dtype, f"scale_{scale}"))
        return maps


def _logits(x: Array, width: int, init_std: float, dtype: DTypeLike, name: str) -> Array:
    """Applies the network of one scale; its layers' names begin with `name`."""
    conv = partial(Conv, kernel_init=nn.initializers.normal(init_std), dtype=dtype)
    for i in range(HALVINGS):
        x = leaky_relu(conv(width * 2**i, 4, 2, name=f"{name}_{i}")(x))
    return conv(1, 1, name=f"{name}_{HALVINGS}")(x).astype(jnp.float32)
