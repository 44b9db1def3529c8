"""The identity head on pooled features: the bottleneck feature used for retrieval, and the identity distribution p."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import EPSILON, Dropout, around_one, kaiming_fan_out


class IdentityHead(nn.Module):
    """Linear bottleneck, BatchNorm, dropout, linear classifier.

    Attributes:
        classes: N, the number of training identities.
        bottleneck: number of dimensions of the retrieval feature.
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
    ) -> tuple[Float[Array, "n bottleneck"], Float[Array, "n classes"]]:
        """Returns (features after BatchNorm, logits of p), float32."""
        x = nn.Dense(self.bottleneck, kernel_init=kaiming_fan_out, dtype=self.dtype, name="bottleneck_layer")(pooled)
        features = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=EPSILON,
            axis_name=self.axis_name,
            scale_init=around_one(0.02),
            name="norm",
        )(x.astype(jnp.float32))
        x = Dropout(self.dropout, self.axis_name)(features, train)
        logits = nn.Dense(self.classes, kernel_init=nn.initializers.normal(0.001), dtype=self.dtype, name="classifier")(
            x
        )
        return features, logits.astype(jnp.float32)
