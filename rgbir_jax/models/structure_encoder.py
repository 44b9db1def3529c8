"""The structure encoder E_s (Table 3)."""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import Conv, ResidualBlock, instance_norm, leaky_relu


def grey(x: Float[Array, "n height width 3"]) -> Float[Array, "n height width 1"]:
    """Returns the structure encoder's input: no colour can get into s (section 3.3)."""
    return jnp.mean(x, axis=-1, keepdims=True)


SEES = ("grey", "contours")
_AROUND = 9  # height and width in pixels of the surroundings that a contour is compared with
_FLAT = 0.1  # change per two pixels, in normalised tones, below which surroundings count as flat


def contours(grey: Float[Array, "n height width 1"]) -> Float[Array, "n height width 1"]:
    """Returns how much tones change at each pixel, relative to how much they change around it.

    What is light and what is dark is lost, and so is the contrast between them. A garment's tone is part of the
    appearance, and infrared light gives it another one; its outline and its pattern are what stays.

    Returns:
        About 1 on the average contour, 0 where nothing changes.
    """
    padded = jnp.pad(grey, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    right = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    change = jnp.sqrt(down**2 + right**2 + 1e-6)  # the root of 0 has no gradient
    around = nn.avg_pool(change, (_AROUND, _AROUND), padding="SAME", count_include_pad=False)
    return change / (around + _FLAT)


class ResidualEncoder(nn.Module):
    """A shallow network with atrous spatial pyramid pooling. A final InstanceNorm keeps the codes from shrinking.

    Attributes:
        width: number of channels of the first convolution.
        code: number of channels of the code.
        dtype: dtype of the computation.
        activation: the rectifier.
    """

    width: int = 16
    code: int = 128
    dtype: DTypeLike = jnp.float32
    activation: Callable[[Array], Array] = leaky_relu

    @nn.compact
    def __call__(self, x: Float[Array, "n h w _"]) -> Float[Array, "n h/4 w/4 code"]:
        """Encodes images as maps, float32."""

        def normed(x, features, kernel, stride=1, dilation=1):
            return instance_norm(Conv(features, kernel, stride, dilation, dtype=self.dtype)(x))

        def block(x, features, kernel, stride=1):
            return self.activation(normed(x, features, kernel, stride))

        width = self.width
        x = block(x.astype(self.dtype), width, 3, stride=2)
        x = block(x, 2 * width, 3)
        x = block(x, 2 * width, 3)
        x = block(x, 4 * width, 3, stride=2)
        for _ in range(4):
            x = ResidualBlock(dtype=self.dtype, activation=self.activation)(x)
        # The four branches have no activation after their last convolution.
        pyramid = [normed(x, 2 * width, 1)]
        pyramid += [normed(block(x, 2 * width, 1), 2 * width, 3, dilation=dilation) for dilation in (3, 6, 9)]
        x = Conv(self.code, 1, dtype=self.dtype)(jnp.concatenate(pyramid, axis=-1))
        return instance_norm(x).astype(jnp.float32)


class StructureEncoder(ResidualEncoder):
    """The structure encoder: 16 channels in the first convolution and 128 in the code, as in the paper.

    Attributes:
        sees: "grey", the image in grey tones as in the paper, or "contours" of these.
    """

    sees: Literal["grey", "contours"] = "grey"

    def __call__(self, grey: Float[Array, "n h w 1"]) -> Float[Array, "n h/4 w/4 code"]:
        """Encodes grey images as structure codes s."""
        return super().__call__(contours(grey) if self.sees == "contours" else grey)
