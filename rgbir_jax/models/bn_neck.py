"""The BN neck: losses of distances see the features before BatchNorm, the classifier sees those after it."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import EPSILON, around_one


class BNNeck(nn.Module):
    """BatchNorm whose bias stays 0, and a linear classifier without bias.

    Attributes:
        classes: N, the number of training identities.
        gain_std: standard deviation of BatchNorm's gains at the start, around 1.
        axis_name: name of the device axis over which BatchNorm averages.
        dtype: dtype of the matrix product.
    """

    classes: int
    gain_std: float = 0.01
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, pooled: Float[Array, "*n channels"], train: bool
    ) -> tuple[Float[Array, "*n channels"], Float[Array, "*n classes"]]:
        """Returns (features after BatchNorm, logits of p), float32."""
        features = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=EPSILON,
            axis_name=self.axis_name,
            use_bias=False,
            scale_init=around_one(self.gain_std),
            name="norm",
        )(pooled.astype(jnp.float32))
        classifier = nn.Dense(
            self.classes,
            use_bias=False,
            kernel_init=nn.initializers.normal(0.001),
            dtype=self.dtype,
            name="classifier",
        )
        return features, classifier(features).astype(jnp.float32)
