"""The appearance encoder E_a: ResNet-50 with adaptive max pooling (section 4.2)."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import global_max_pool, part_max_pool
from rgbir_jax.models.resnet import ResNet50

SLICES = 4  # of the appearance code, one for each AdaIN block of the generator


class AppearanceEncoder(nn.Module):
    """Appearance codes for the generator, and the pooled map for the identity heads.

    Attributes:
        width: of the ResNet; 64 in the paper, for codes of 4 x 2048.
        blocks: residual blocks of each of its stages.
        slices: what a slice of the code is: "part", a quarter of the body's height with all channels, or "channel", a
            quarter of the channels with all body parts, as in DG-Net's released system.
        pool: what the identity heads see of the feature map: "max", its global maximum (the paper's adaptive max
            pooling), or "avg", its mean (the teacher).
        axis_name: of the devices over which BatchNorm averages.
        dtype: of the convolutions.
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
        """(appearance codes a, pooled features), float32.

        Raises:
            ValueError: for an unknown kind of slices or of pooling, or an image too low for four body parts.
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
