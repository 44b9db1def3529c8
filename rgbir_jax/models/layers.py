"""Layers shared by several networks. Images are [batch, height, width, channels] throughout."""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.errors import UserError

EPSILON = 1e-5

kaiming = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""Both are for layers followed by a rectifier. ResNets use fan-out."""


def around_one(deviation: float) -> Callable:
    """Returns an initialiser of BatchNorm's gains: a normal distribution around 1."""
    return lambda key, shape, dtype=jnp.float32: 1 + nn.initializers.normal(deviation)(key, shape, dtype)


def leaky_relu(x: Array) -> Array:
    """Applies the GAN's LeakyReLU, with slope 0.2 below zero."""
    return nn.leaky_relu(x, 0.2)


def instance_norm(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Normalises each channel of each image to mean 0 and (biased) variance 1, in float32; no parameters."""
    wide = x.astype(jnp.float32)
    mean = jnp.mean(wide, (1, 2), keepdims=True)
    variance = jnp.var(wide, (1, 2), keepdims=True)
    return ((wide - mean) * jax.lax.rsqrt(variance + EPSILON)).astype(x.dtype)


def adaptive_instance_norm(
    x: Float[Array, "n h w c"], scale: Float[Array, "n c"], bias: Float[Array, "n c"]
) -> Float[Array, "n h w c"]:
    """Applies AdaIN: InstanceNorm, then a scale and a bias from the appearance code. No 1 is added to the scale."""
    return instance_norm(x) * scale[:, None, None].astype(x.dtype) + bias[:, None, None].astype(x.dtype)


class LayerNorm(nn.Module):
    """Normalises each image over height, width and channels, then applies one gain and one bias per channel.

    The standard deviation is unbiased and EPSILON is added to it, not to the variance. Gains are drawn from U(0, 1).
    """

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Computes the statistics in float32; the result has x's dtype."""
        gain = self.param("gain", nn.initializers.uniform(1.0), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        wide = x.astype(jnp.float32)
        mean = jnp.mean(wide, (1, 2, 3), keepdims=True)
        deviation = jnp.std(wide, (1, 2, 3), keepdims=True, ddof=1)
        return ((wide - mean) / (deviation + EPSILON) * gain + bias).astype(x.dtype)


def reflect(x: Float[Array, "n h w c"], pad: int) -> Float[Array, "n H W c"]:
    """Pads height and width on both sides by reflection, without repeating the border."""
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")


def upsample(x: Float[Array, "n h w c"]) -> Float[Array, "n 2*h 2*w c"]:
    """Doubles height and width by nearest-neighbour interpolation."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def convolve(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k c C"], window_strides: Sequence[int], padding, **how
) -> Float[Array, "n H W C"]:
    """Calls jax.lax.conv_general_dilated, or computes a 1x1 convolution (no padding) as one matrix product.

    On CPUs, XLA transposes images for the gradients of a 1x1 convolution: a third of a ResNet-50's training time.
    """
    if kernel.shape[:2] != (1, 1):
        return jax.lax.conv_general_dilated(x, kernel, window_strides, padding, **how)
    down, across = window_strides
    x = jax.lax.slice(x, (0, 0, 0, 0), x.shape, (1, down, across, 1))
    # Flatten first: XLA also transposes the operands of a multi-axis dot.
    return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], -1)


def convolve_upsampled(
    x: Float[Array, "n h w c"], kernel: Float[Array, "5 5 c C"], window_strides: Sequence[int], padding, **how
) -> Float[Array, "n 2*h 2*w C"]:
    """Upsamples x, pads it by reflection and convolves it, with about a third of the multiplications.

    The five rows of an upsampled image that a kernel covers come from three rows of x. Which of the kernel's rows cover
    the same row of x depends only on whether the output's row is even, and the same is true of columns. So four 3x3
    kernels, whose elements are sums of the given kernel's, compute the result from x itself. This fails in the
    outermost rows and columns because of the reflection; they are computed directly.
    """
    convolve = partial(jax.lax.conv_general_dilated, window_strides=window_strides, padding=padding, **how)

    def border(x, rows, columns):
        return convolve(reflect(upsample(x), 2)[:, rows, columns], kernel)

    n, h, w, _ = x.shape
    first, last, whole = slice(0, 5), slice(-5, None), slice(None)
    top, bottom = border(x[:, :3], first, whole), border(x[:, -3:], last, whole)
    left, right = border(x[:, :, :3], whole, first), border(x[:, :, -3:], whole, last)

    covers = jax.nn.one_hot((np.arange(2)[:, None] + np.arange(5)) // 2, 3, dtype=kernel.dtype)
    kernels = jnp.einsum("yit,xju,ijcC->tucyxC", covers, covers, kernel).reshape(3, 3, x.shape[-1], -1)
    inner = convolve(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge"), kernels)
    inner = inner.reshape(n, h, w, 2, 2, -1).swapaxes(2, 3).reshape(n, 2 * h, 2 * w, -1)
    inner = jnp.concatenate([top, inner[:, 1:-1], bottom], axis=1)
    return jnp.concatenate([left, inner[:, :, 1:-1], right], axis=2)


class Conv(nn.Module):
    """A convolution with bias and reflection padding. It divides height and width by the stride, rounded up.

    Attributes:
        features: number of output channels.
        kernel: side of the square kernel: odd, or even with stride 2.
        stride: stride in both directions.
        dilation: dilation in both directions.
        doubles: whether height and width are doubled first, by nearest-neighbour interpolation; for 5x5 kernels.
        kernel_init: initialiser of the kernel.
        dtype: dtype of the computation.
    """

    features: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    doubles: bool = False
    kernel_init: Callable = kaiming
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n H W C"]:
        """Pads the input and convolves it."""
        pad = self.dilation * ((self.kernel - 1) // 2)
        if pad and not self.doubles:
            x = reflect(x, pad)
        return nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            self.stride,
            padding="VALID",
            kernel_dilation=self.dilation,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            conv_general_dilated=convolve_upsampled if self.doubles else convolve,
            name="conv",
        )(x)


class ResidualBlock(nn.Module):
    """x + norm(conv(activation(norm(conv(x))))), without an activation after the sum.

    Attributes:
        norm: normalisation applied after each convolution.
        kernel_init: initialiser of the kernels.
        dtype: dtype of the computation.
        activation: the rectifier between the convolutions.
    """

    norm: Callable[[Array], Array] = instance_norm
    kernel_init: Callable = kaiming
    dtype: DTypeLike = jnp.float32
    activation: Callable[[Array], Array] = leaky_relu

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Applies the block; both 3x3 convolutions keep the number of channels."""

        def conv(x):
            return Conv(x.shape[-1], 3, kernel_init=self.kernel_init, dtype=self.dtype)(x)

        return x + self.norm(conv(self.activation(self.norm(conv(x)))))


def halve(x: Float[Array, "n h w c"]) -> Float[Array, "n H W c"]:
    """Halves height and width by 3x3 average pooling; padding does not count towards the averages at the border."""
    return nn.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)), count_include_pad=False)  # pyright: ignore[reportArgumentType] (flax names one form)


def global_max_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
    """Returns the maximum of each channel."""
    # max_pool, not jnp.max: the gradient of jnp.max divides by the number of maxima, which is 0 (NaN) if XLA
    # rematerialises x with different rounding.
    return nn.max_pool(x, x.shape[1:3]).squeeze((1, 2))


def mean_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
    """Returns the mean of each channel."""
    return jnp.mean(x, axis=(1, 2))


def part_max_pool(x: Float[Array, "n h w c"], parts: int) -> Float[Array, "n parts c"]:
    """Max-pools horizontal bands, as `part_pool` has them."""
    return part_pool(x, parts, global_max_pool)


def part_pool(x: Float[Array, "n h w c"], parts: int, pool: Callable[[Array], Array]) -> Float[Array, "n parts c"]:
    """Pools `parts` horizontal bands (adaptive pooling): band i spans rows ⌊i·h/parts⌋ to ⌈(i+1)·h/parts⌉.

    Args:
        x: feature maps.
        parts: number of bands.
        pool: computes a number per channel from a band.

    Raises:
        UserError: if the map has fewer rows than parts.
    """
    height = x.shape[1]
    if height < parts:
        raise UserError(
            f"a feature map of {height} rows cannot be pooled into {parts} body parts; "
            f"set config.image_size to a height {parts / height:.3g} times as large."
        )
    edges = [(i * height // parts, -(-(i + 1) * height // parts)) for i in range(parts)]
    return jnp.stack([pool(jax.lax.slice_in_dim(x, start, end, axis=1)) for start, end in edges], axis=1)


def gem_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
    """Returns the generalised mean of each channel with exponent 3, (mean x³)^(1/3), float32, for x of at least 0."""
    # In float32: bfloat16 has too few digits for sums of cubes. The constant keeps the gradient at 0 finite.
    return (jnp.mean(x.astype(jnp.float32) ** 3, axis=(1, 2)) + 1e-12) ** (1 / 3)


def unit(x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
    """Divides each vector by its length. A vector whose length overflows becomes NaN, not zero."""
    length = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.where(jnp.isfinite(length), jnp.maximum(length, 1e-12), jnp.nan)


class Dropout(nn.Module):
    """Dropout with masks keyed on each row's position in the global batch, so the number of devices does not matter.

    Attributes:
        rate: probability that an element is zeroed.
        axis_name: name of the device axis, or None if there is none.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n *c"], train: bool) -> Float[Array, "n *c"]:
        """Drops elements, with random numbers from the collection "dropout"; returns x as it is if `train` is False."""
        if not train or not self.rate:
            return x
        key, n = self.make_rng("dropout"), len(x)
        first = jax.lax.axis_index(self.axis_name) * n if self.axis_name else 0
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(n))
        keep = jax.vmap(lambda k: jax.random.bernoulli(k, 1 - self.rate, x.shape[1:]))(keys)
        return jnp.where(keep, x / (1 - self.rate), 0).astype(x.dtype)
