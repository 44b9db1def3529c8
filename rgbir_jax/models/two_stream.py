"""A path of the dual-path network M_bdtr (section 4.1): ResNet-50 and average pooling, one for each modality."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.resnet import ResNet50


class Stream(nn.Module):
    """What the modalities do not share; an `IdentityHead` on the pooled features is what they do.

    Attributes:
        width: of the ResNet; 64 in the paper, for 2048 features.
        blocks: residual blocks of each of its stages.
        axis_name: of the devices over which BatchNorm averages.
        dtype: of the convolutions.
    """

    width: int = 64
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"], train: bool) -> Float[Array, "n channels"]:
        """Average-pooled features of images of one modality, float32."""
        x = ResNet50(self.width, self.blocks, self.axis_name, self.dtype, name="trunk")(x, train)
        return jnp.mean(x.astype(jnp.float32), axis=(1, 2))
