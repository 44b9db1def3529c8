"""One path of the dual-path network M_bdtr (section 4.1): ResNet-50 and average pooling, one path per modality."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.resnet import ResNet50


class Stream(nn.Module):
    """Modality-specific branch (ResNet-50, average pooling). The `IdentityHead` on top is shared.

    Attributes:
        width: width of the ResNet; 64 in the paper, which gives 2048 features.
        blocks: number of residual blocks in each stage.
        axis_name: name of the device axis over which BatchNorm averages.
        dtype: dtype of the convolutions.
    """

    width: int = 64
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"], train: bool) -> Float[Array, "n channels"]:
        """Returns average-pooled features of images of one modality, float32."""
        x = ResNet50(self.width, self.blocks, self.axis_name, self.dtype, name="trunk")(x, train)
        return jnp.mean(x.astype(jnp.float32), axis=(1, 2))
