"""The appearance encoder E_a: ResNet-50 with adaptive max pooling (section 4.2)."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import global_max_pool, part_max_pool
from rgbir_jax.models.resnet import ResNet50

SLICES = 4  # slices of the appearance code, one per AdaIN block of the generator


class AppearanceEncoder(nn.Module):
    """Computes appearance codes for the generator and pooled features for the identity heads.

    Attributes:
        width: width of the ResNet; 64 in the paper, which gives codes of 4 x 2048.
        blocks: number of residual blocks in each stage.
        slices: how the code is sliced: "part" (a quarter of the body's height, all channels) or "channel" (a quarter
            of the channels, all body parts, as in DG-Net's released system).
        pool: pooling for the identity heads: "max" (global maximum, the paper's adaptive max pooling) or "avg" (mean,
            as in the teacher).
        axis_name: name of the device axis over which BatchNorm averages.
        dtype: dtype of the convolutions.
    """

    width: int = 64
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    slices: Literal["part", "channel"] = "part"
    pool: Literal["max", "avg"] = "max"
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w 3"], train: bool
    ) -> tuple[Float[Array, "n 4 channels"], Float[Array, "n channels"]]:
        """Returns (appearance codes a, pooled features), float32.

        Raises:
            ValueError: if `slices` or `pool` is unknown, or the image is too small in height for four body parts.
        """
        x = ResNet50(self.width, self.blocks, self.axis_name, self.dtype, name="trunk")(x, train).astype(jnp.float32)
        parts = part_max_pool(x, SLICES)
        match self.slices:
            case "part":
                code = parts
            case "channel":
                code = parts.swapaxes(1, 2).reshape(parts.shape)
            case _:
                raise ValueError(f'slices "{self.slices}" is unknown; choose "part" or "channel".')
        match self.pool:
            case "max":
                return code, global_max_pool(x)
            case "avg":
                return code, jnp.mean(x, axis=(1, 2))
        raise ValueError(f'pool "{self.pool}" is unknown; choose "max" or "avg".')
