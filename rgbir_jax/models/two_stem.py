"""Two-stem networks: the stem of a ResNet for each modality, and one body for both."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgbir_jax.models.layers import gem_pool, mean_pool, part_pool

POOLS = ("avg", "gem", "parts")
PARTS = 3  # the top, the middle and the bottom of a person


class Stem(nn.Module):
    """Modality-specific stem of a ResNet.

    Attributes:
        trunk: stage 0 of a ResNet.
    """

    trunk: nn.Module

    def __call__(self, x: Float[Array, "n h w 3"], train: bool) -> Float[Array, "n H W c"]:
        """Returns feature maps of images of one modality, in the dtype of the computation."""
        return self.trunk(x, train)


class Body(nn.Module):
    """The other stages of a ResNet, and pooling. Both modalities share it.

    Attributes:
        trunk: stages 1 to 4 of a ResNet.
        pool: "avg" (mean), "gem" (generalised mean) or "parts" (the mean, followed by those of `PARTS` bands).
    """

    trunk: nn.Module
    pool: Literal["avg", "gem", "parts"] = "avg"

    @property
    def vectors(self) -> int:
        """The number of pooled features of an image."""
        return 1 + PARTS if self.pool == "parts" else 1

    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n vectors channels"]:
        """Returns pooled features, float32: of the whole image, then of its parts if there are any."""
        return self.pooled(self.feature_map(x, train))

    def feature_map(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n H W channels"]:
        """Returns the last feature map, float32."""
        return self.trunk(x, train).astype(jnp.float32)

    def pooled(self, feature_map: Float[Array, "n H W channels"]) -> Float[Array, "n vectors channels"]:
        """Pools a feature map; no parameters.

        Raises:
            UserError: if the map has too few rows for its parts.
        """
        whole = (gem_pool if self.pool == "gem" else mean_pool)(feature_map)[:, None]
        if self.pool != "parts":
            return whole
        return jnp.concatenate([whole, part_pool(feature_map, PARTS, mean_pool)], axis=1)
