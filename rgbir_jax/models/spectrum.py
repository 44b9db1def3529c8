"""SDL's heads on the pooled features of a stream: embeddings x, u and v, and the classifiers of x and u."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.identity_head import bottleneck


class SpectrumHead(nn.Module):
    """A linear bottleneck with BatchNorm.

    Attributes:
        bottleneck: number of dimensions of the embedding; 512 in the released code.
        axis_name: name of the device axis over which BatchNorm averages.
        dtype: dtype of the matrix product.
    """

    bottleneck: int = 512
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, pooled: Float[Array, "n channels"], train: bool) -> Float[Array, "n bottleneck"]:
        """Returns embeddings, float32."""
        return bottleneck(pooled, self.bottleneck, train, self.axis_name, self.dtype, deviation=0.01)


class SpectrumClassifier(nn.Module):
    """LeakyReLU with slope 0.1 and a linear layer.

    Attributes:
        classes: the number of training identities.
        dtype: dtype of the matrix product.
    """

    classes: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, embedding: Float[Array, "n bottleneck"]) -> Float[Array, "n classes"]:
        """Returns logits, float32."""
        dense = nn.Dense(self.classes, kernel_init=nn.initializers.normal(0.001), dtype=self.dtype, name="classifier")
        return dense(nn.leaky_relu(embedding, 0.1)).astype(jnp.float32)
