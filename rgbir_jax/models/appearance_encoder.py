"""The appearance encoder E_a: a backbone with adaptive max pooling (section 4.2)."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgbir_jax.models.layers import global_max_pool, part_max_pool

SLICES = 4  # slices of the appearance code, one per AdaIN block of the generator
SLICINGS = ("part", "channel")
POOLS = ("max", "avg")


class AppearanceEncoder(nn.Module):
    """Computes appearance codes for the generator and pooled features for the identity heads.

    Attributes:
        trunk: the backbone, (images, train) -> feature maps [n, h, w, channels]; ResNet-50 in the paper, which gives
            codes of 4 x 2048.
        slices: how the code is sliced: "part" (a quarter of the body's height, all channels) or "channel" (a quarter
            of the channels, all body parts, as in DG-Net's released system).
        pool: pooling for the identity heads: "max" (global maximum, the paper's adaptive max pooling) or "avg" (mean,
            as in the teacher).
    """

    trunk: nn.Module
    slices: Literal["part", "channel"] = "part"
    pool: Literal["max", "avg"] = "max"

    def __call__(
        self, x: Float[Array, "n h w c"], train: bool
    ) -> tuple[Float[Array, "n 4 channels"], Float[Array, "n channels"]]:
        """Returns (appearance codes a, pooled features), float32.

        Raises:
            UserError: for an image too low for four body parts.
        """
        feature_map = self.feature_map(x, train)
        return self.code(feature_map), self.pooled(feature_map)

    def feature_map(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n H W channels"]:
        """Returns the trunk's last feature map, float32."""
        return self.trunk(x, train).astype(jnp.float32)

    def code(self, feature_map: Float[Array, "n H W channels"]) -> Float[Array, "n 4 channels"]:
        """Max-pools a feature map over body parts and slices the result; no parameters."""
        parts = part_max_pool(feature_map, SLICES)
        return parts if self.slices == "part" else parts.swapaxes(1, 2).reshape(parts.shape)

    def pooled(self, feature_map: Float[Array, "n H W channels"]) -> Float[Array, "n channels"]:
        """Pools a feature map for the identity heads; no parameters."""
        return global_max_pool(feature_map) if self.pool == "max" else jnp.mean(feature_map, axis=(1, 2))
