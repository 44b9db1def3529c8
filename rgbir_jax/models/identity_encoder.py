"""The identity encoder E_id, which recognises people by the structure code (preset `released`)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import Conv, leaky_relu


class IdentityEncoder(nn.Module):
    """Two 3x3 convolutions that give the structure code three channels, and a backbone on these.

    Attributes:
        trunk: the backbone, (images, train) -> feature maps [n, h, w, channels]; ResNet-18 in the released code.
        hidden: number of channels between the two convolutions; 64 in the released code.
        dtype: dtype of the two convolutions.
    """

    trunk: nn.Module
    hidden: int = 64
    dtype: DTypeLike = jnp.float32

    def __call__(self, s: Float[Array, "n h w code"], train: bool) -> Float[Array, "n channels"]:
        """Returns pooled features (mean) for the identity heads, float32."""
        return self.pooled(self.feature_map(s, train))

    @nn.compact
    def feature_map(self, s: Float[Array, "n h w code"], train: bool) -> Float[Array, "n H W channels"]:
        """Returns the trunk's last feature map, float32."""
        x = leaky_relu(Conv(self.hidden, 3, dtype=self.dtype)(s.astype(self.dtype)))
        return self.trunk(Conv(3, 3, dtype=self.dtype)(x), train).astype(jnp.float32)

    def pooled(self, feature_map: Float[Array, "n H W channels"]) -> Float[Array, "n channels"]:
        """Averages a feature map over its positions; no parameters."""
        return jnp.mean(feature_map, axis=(1, 2))
