"""The identity head on pooled features: the bottleneck feature used for retrieval, and the identity distribution p."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import EPSILON, Dropout, around_one, kaiming_fan_out


def bottleneck(
    pooled: Float[Array, "n channels"],
    size: int,
    train: bool,
    axis_name: str | None,
    dtype: DTypeLike,
    deviation: float = 0.02,
) -> Float[Array, "n size"]:
    """Adds the layers "bottleneck_layer" (linear) and "norm" (BatchNorm) to the module that calls it.

    Args:
        pooled: pooled features.
        size: number of dimensions of the result.
        train: whether the statistics of the batch are used.
        axis_name: name of the device axis over which BatchNorm averages.
        dtype: dtype of the matrix product.
        deviation: standard deviation of the BatchNorm's initial gains, around 1.

    Returns:
        Features after BatchNorm, float32.
    """
    x = nn.Dense(size, kernel_init=kaiming_fan_out, dtype=dtype, name="bottleneck_layer")(pooled)
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=EPSILON,
        axis_name=axis_name,
        scale_init=around_one(deviation),
        name="norm",
    )(x.astype(jnp.float32))


class IdentityHead(nn.Module):
    """Linear bottleneck, BatchNorm, dropout, linear classifier.

    Attributes:
        classes: N, the number of training identities.
        bottleneck: number of dimensions of the retrieval feature; 0 for neither bottleneck nor BatchNorm, so that it is
            the pooled feature itself.
        dropout: dropout probability.
        axis_name: name of the device axis over which BatchNorm averages.
        dtype: dtype of the matrix products.
    """

    classes: int
    bottleneck: int = 512
    dropout: float = 0.5
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, pooled: Float[Array, "n channels"], train: bool
    ) -> tuple[Float[Array, "n dim"], Float[Array, "n classes"]]:
        """Returns (features after BatchNorm, logits of p), float32."""
        features = pooled
        if self.bottleneck:
            features = bottleneck(pooled, self.bottleneck, train, self.axis_name, self.dtype)
        x = Dropout(self.dropout, self.axis_name)(features, train)
        logits = nn.Dense(self.classes, kernel_init=nn.initializers.normal(0.001), dtype=self.dtype, name="classifier")(
            x
        )
        return features, logits.astype(jnp.float32)
