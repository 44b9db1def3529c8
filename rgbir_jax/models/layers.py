"""Pieces that several networks share. Images are [batch, height, width, channels] throughout."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

EPSILON = 1e-5

kaiming = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""kaiming is for layers followed by a rectifier, counted by inputs; kaiming_fan_out by outputs, as ResNets have it."""


def leaky_relu(x: Array) -> Array:
    """The GAN's rectifier: slope 0.2 below zero."""
    return nn.leaky_relu(x, 0.2)


def instance_norm(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Each channel of each image to mean 0 and variance 1 (biased), in float32; no parameters."""
    wide = x.astype(jnp.float32)
    mean = jnp.mean(wide, (1, 2), keepdims=True)
    variance = jnp.var(wide, (1, 2), keepdims=True)
    return ((wide - mean) * jax.lax.rsqrt(variance + EPSILON)).astype(x.dtype)


def adaptive_instance_norm(
    x: Float[Array, "n h w c"], scale: Float[Array, "n c"], bias: Float[Array, "n c"]
) -> Float[Array, "n h w c"]:
    """AdaIN: InstanceNorm, then a scale and a bias from the appearance code; the scale is used as it is."""
    return instance_norm(x) * scale[:, None, None].astype(x.dtype) + bias[:, None, None].astype(x.dtype)


class LayerNorm(nn.Module):
    """Each image to mean 0 and standard deviation 1 over height, width and channels, then a gain and a bias a channel.

    The standard deviation is unbiased and EPSILON is added to it, not to the variance; gains begin in U(0, 1).
    """

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Statistics in float32, the result in x's dtype."""
        gain = self.param("gain", nn.initializers.uniform(1.0), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        wide = x.astype(jnp.float32)
        mean = jnp.mean(wide, (1, 2, 3), keepdims=True)
        deviation = jnp.std(wide, (1, 2, 3), keepdims=True, ddof=1)
        return ((wide - mean) / (deviation + EPSILON) * gain + bias).astype(x.dtype)


def convolve(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k c C"], window_strides: Sequence[int], padding, **how
) -> Float[Array, "n H W C"]:
    """jax.lax.conv_general_dilated, with a 1x1 kernel (no padding) as the matrix product over all pixels that it is.

    XLA lays images out anew for the gradients of a 1x1 convolution on CPUs: a third of a ResNet-50's time in training.
    """
    if kernel.shape[:2] != (1, 1):
        return jax.lax.conv_general_dilated(x, kernel, window_strides, padding, **how)
    down, across = window_strides
    x = x[:, ::down, ::across]
    # Flat, because a product over several axes is laid out anew as well.
    return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], -1)


class Conv(nn.Module):
    """A convolution with bias whose input is padded by its own reflection, so that its size is divided by the stride.

    Attributes:
        features: output channels.
        kernel: side of the kernel, odd.
        stride: of both sides.
        dilation: of both sides.
        kernel_init: initialiser of the kernel.
        dtype: of the computation.
    """

    features: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    kernel_init: Callable = kaiming
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n H W C"]:
        """Pads and convolves."""
        pad = self.dilation * (self.kernel // 2)
        if pad:
            x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
        return nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            self.stride,
            padding="VALID",
            kernel_dilation=self.dilation,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            conv_general_dilated=convolve,
            name="conv",
        )(x)


class ResidualBlock(nn.Module):
    """x + norm(conv(lrelu(norm(conv(x))))), nothing after the sum.

    Attributes:
        norm: applied after each convolution.
        kernel_init: initialiser of the kernels.
        dtype: of the computation.
    """

    norm: Callable[[Array], Array] = instance_norm
    kernel_init: Callable = kaiming
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Two 3x3 convolutions of as many channels as x has."""

        def conv(x):
            return Conv(x.shape[-1], 3, kernel_init=self.kernel_init, dtype=self.dtype)(x)

        return x + self.norm(conv(leaky_relu(self.norm(conv(x)))))


def upsample(x: Float[Array, "n h w c"]) -> Float[Array, "n 2*h 2*w c"]:
    """Nearest neighbour, twice the size."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def halve(x: Float[Array, "n h w c"]) -> Float[Array, "n H W c"]:
    """3x3 average pooling with stride 2; the border's averages are over the pixels that exist."""
    return nn.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)), count_include_pad=False)  # pyright: ignore[reportArgumentType] (flax names one form)


def global_max_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
    """The largest value of each channel."""
    # max_pool, not jnp.max: the gradient of jnp.max divides by the number of maxima, which is 0 (NaN) if XLA
    # rematerialises x with different rounding.
    return nn.max_pool(x, x.shape[1:3])[:, 0, 0]


def part_max_pool(x: Float[Array, "n h w c"], parts: int) -> Float[Array, "n parts c"]:
    """Adaptive max pooling to `parts` horizontal bands: band i spans rows ⌊i·h/parts⌋ to ⌈(i+1)·h/parts⌉.

    Raises:
        ValueError: where the map has fewer rows than parts.
    """
    height = x.shape[1]
    if height < parts:
        raise ValueError(
            f"a feature map of {height} rows cannot be pooled to {parts} body parts; "
            f"set config.image_size to a height of at least {16 * parts}."
        )
    edges = [(i * height // parts, -(-(i + 1) * height // parts)) for i in range(parts)]
    return jnp.stack([global_max_pool(x[:, start:end]) for start, end in edges], axis=1)


def unit(x: Float[Array, "n c"]) -> Float[Array, "n c"]:
    """Divides each row by its length. A row whose length overflows becomes NaN, not zero."""
    length = jnp.linalg.norm(x, axis=1, keepdims=True)
    return x / jnp.where(jnp.isfinite(length), jnp.maximum(length, 1e-12), jnp.nan)


class Dropout(nn.Module):
    """Dropout whose mask is keyed on the row's place in the global batch, however that is divided among devices.

    Attributes:
        rate: probability of an element being zeroed.
        axis_name: of the devices, None outside any.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n c"], train: bool) -> Float[Array, "n c"]:
        """Draws from the collection "dropout"; the identity where `train` is False."""
        if not train or not self.rate:
            return x
        key, n = self.make_rng("dropout"), len(x)
        first = jax.lax.axis_index(self.axis_name) * n if self.axis_name else 0
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(n))
        keep = jax.vmap(lambda k: jax.random.bernoulli(k, 1 - self.rate, x.shape[1:]))(keys)
        return jnp.where(keep, x / (1 - self.rate), 0).astype(x.dtype)
