"""One path of the dual-path network M_bdtr (section 4.1): ResNet-50 and average pooling, one path per modality."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class Stream(nn.Module):
    """Modality-specific branch (ResNet-50, average pooling). The `IdentityHead` on top is shared.

    Attributes:
        trunk: the backbone, (images, train) -> feature maps [n, h, w, channels].
    """

    trunk: nn.Module

    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n channels"]:
        """Returns average-pooled features of images of one modality, float32."""
        return self.pooled(self.feature_map(x, train))

    def feature_map(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n H W channels"]:
        """Returns the trunk's last feature map, float32."""
        return self.trunk(x, train).astype(jnp.float32)

    def pooled(self, feature_map: Float[Array, "n H W channels"]) -> Float[Array, "n channels"]:
        """Averages a feature map over its positions; no parameters."""
        return jnp.mean(feature_map, axis=(1, 2))
