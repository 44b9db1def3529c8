"""Attention between feature maps by plain products, without a softmax (Wang et al. 2018), starting as the identity."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import EPSILON, convolve


class NonLocal(nn.Module):
    """Adds to a feature map x what it attends to in another one, or in itself: x + BN(W y), BN's gain and bias from 0.

    y = A g(source), where A is θ(x) · φ(source)ᵀ over its number of columns. θ, φ, g and W are 1x1 convolutions.

    Attributes:
        width: number of channels of θ, φ and g; 0 for half of those of x.
        of_channels: whether A relates channels rather than positions. φ and W then have stride 2 if x is smaller than
            the source.
        axis_name: name of the device axis over which BatchNorm averages.
        dtype: dtype of the convolutions; statistics are float32.
    """

    width: int
    of_channels: bool = False
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], source: Float[Array, "n H W C"], train: bool
    ) -> Float[Array, "n h w c"]:
        """Returns x with what it attends to in the source."""
        conv = partial(nn.Conv, kernel_size=(1, 1), dtype=self.dtype, conv_general_dilated=convolve)
        product = partial(jnp.einsum, preferred_element_type=jnp.float32)
        width = self.width or x.shape[-1] // 2
        stride = 2 if self.of_channels and x.shape[1:3] != source.shape[1:3] else 1
        theta, phi, g = (
            conv(width, strides=step, name=name)(read)
            for name, read, step in (("theta", x, 1), ("phi", source, stride), ("g", source, 1))
        )
        # Without a softmax the products may be computed in the cheaper order: the attention between positions is never
        # formed.
        if self.of_channels:
            attention = product("nhwa,nhwb->nab", theta, phi) / width
            y = product("nHWb,nab->nHWa", g, attention.astype(self.dtype))
        else:
            context = product("nHWa,nHWb->nab", phi, g) / (phi.shape[1] * phi.shape[2])
            y = product("nhwa,nab->nhwb", theta, context.astype(self.dtype))
        y = conv(x.shape[-1], strides=stride, name="W")(y.astype(self.dtype))
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=EPSILON,
            axis_name=self.axis_name,
            dtype=self.dtype,
            scale_init=nn.initializers.zeros,
            name="norm",
        )
        return x + norm(y)
