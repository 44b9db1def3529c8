"""The head of Hi-CMD's recognition: it joins prototypes and identity attributes and recognises people by both."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import EPSILON, Dropout, kaiming_fan_out


def direction(x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
    """Scales vectors to length 1. A vector of zeros stays, with gradient 0, which `layers.unit` does not have."""
    squared = jnp.sum(x**2, axis=-1, keepdims=True)
    nonzero = squared > 0
    return jnp.where(nonzero, x / jnp.sqrt(jnp.where(nonzero, squared, 1)), 0)


class Mixture(nn.Module):
    """z = [w p, (1 - w) t], of directions p and t, with a learnt w that starts at 0.5; the stage keeps it in 0..1."""

    @nn.compact
    def __call__(self, p: Float[Array, "*n c"], t: Float[Array, "*n d"]) -> Float[Array, "*n c+d"]:
        """Joins pooled prototypes p and identity attributes t."""
        w = self.param("w", nn.initializers.constant(0.5), ())
        return jnp.concatenate([w * direction(p), (1 - w) * direction(t)], axis=-1)


class HierarchicalHead(nn.Module):
    """Linear layer, BatchNorm, dropout; then a linear classifier and, next to it, a linear layer for the triplet loss.

    Attributes:
        classes: N, the number of training identities.
        bottleneck: number of dimensions of the retrieval feature f.
        triplet: number of dimensions of what the triplet loss compares.
        dropout: dropout probability.
        axis_name: name of the device axis over which BatchNorm averages.
        dtype: dtype of the matrix products.
    """

    classes: int
    bottleneck: int = 2048
    triplet: int = 1024
    dropout: float = 0.5
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "n channels"], train: bool
    ) -> tuple[Float[Array, "n bottleneck"], Float[Array, "n classes"], Float[Array, "n triplet"]]:
        """Returns (f after BatchNorm, logits of p, directions that the triplet loss compares), float32."""

        def dense(x, features, init, name):
            return nn.Dense(features, kernel_init=init, dtype=self.dtype, name=name)(x).astype(jnp.float32)

        f = nn.BatchNorm(
            use_running_average=not train, momentum=0.9, epsilon=EPSILON, axis_name=self.axis_name, name="norm"
        )(dense(z, self.bottleneck, kaiming_fan_out, "bottleneck_layer"))
        x = Dropout(self.dropout, self.axis_name)(f, train)
        logits = dense(x, self.classes, nn.initializers.normal(0.001), "classifier")
        return f, logits, direction(dense(x, self.triplet, kaiming_fan_out, "triplet_layer"))
