"""ResNet-50 and ResNet-18 (He et al. 2016) without pooling and classifier; the last stage has stride 1."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.errors import UserError
from rgbir_jax.models.layers import EPSILON, convolve, kaiming_fan_out

STRIDES = (1, 2, 2, 1)  # one per stage; the original has 2 at the end
EXPANSION = 4


class ResNet(nn.Module):
    """What both have in common. Submodules have torchvision's names with "_" for "." (layer1_0_conv1).

    Attributes:
        width: number of channels of the first convolution; 64 in the original.
        blocks: number of residual blocks in each stage.
        axis_name: name of the device axis over which BatchNorm averages.
        dtype: dtype of the convolutions; statistics are float32.
    """

    width: int = 64
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    def branch(self, conv: Callable, norm: Callable, x: Array, features: int, step: int, name: str) -> Array:
        """Computes what a block adds to its input, before the last ReLU.

        Args:
            conv: makes a convolution from its number of channels, kernel and stride.
            norm: makes a BatchNorm.
            x: the block's input.
            features: the stage's number of channels.
            step: the block's stride.
            name: the block's name, with which those of its layers begin.
        """
        raise NotImplementedError

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"], train: bool) -> Float[Array, "n H W c"]:
        """Returns feature maps at a sixteenth of the input's height and width.

        Raises:
            UserError: for another number of stages in `blocks`.
        """
        if len(self.blocks) != len(STRIDES):
            raise UserError(f"a ResNet has {len(STRIDES)} stages; set blocks to as many numbers, not {self.blocks}.")
        conv = partial(
            nn.Conv,
            use_bias=False,
            kernel_init=kaiming_fan_out,
            dtype=self.dtype,
            conv_general_dilated=convolve,
        )
        norm = partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=EPSILON,
            axis_name=self.axis_name,
            dtype=self.dtype,
        )
        x = conv(self.width, (7, 7), 2, padding=3, name="conv1")(x.astype(self.dtype))
        x = nn.relu(norm(name="bn1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))  # pyright: ignore[reportArgumentType]
        for stage, (blocks, stride) in enumerate(zip(self.blocks, STRIDES, strict=True)):
            for block in range(blocks):
                name = f"layer{stage + 1}_{block}"
                step = stride if block == 0 else 1
                y = self.branch(conv, norm, x, self.width * 2**stage, step, name)
                if x.shape != y.shape:
                    x = conv(y.shape[-1], (1, 1), step, name=f"{name}_downsample_0")(x)
                    x = norm(name=f"{name}_downsample_1")(x)
                x = nn.relu(x + y)
        return x


class ResNet50(ResNet):
    """The trunk of E_a: blocks of three convolutions. The output has 32 times as many channels as the first layer."""

    def branch(self, conv: Callable, norm: Callable, x: Array, features: int, step: int, name: str) -> Array:
        """Computes a bottleneck."""
        y = nn.relu(norm(name=f"{name}_bn1")(conv(features, (1, 1), name=f"{name}_conv1")(x)))
        y = conv(features, (3, 3), step, padding=1, name=f"{name}_conv2")(y)
        y = nn.relu(norm(name=f"{name}_bn2")(y))
        return norm(name=f"{name}_bn3")(conv(EXPANSION * features, (1, 1), name=f"{name}_conv3")(y))


class ResNet18(ResNet):
    """Blocks of two convolutions. The output has 8 times as many channels as the first layer."""

    blocks: tuple[int, ...] = (2, 2, 2, 2)

    def branch(self, conv: Callable, norm: Callable, x: Array, features: int, step: int, name: str) -> Array:
        """Computes a basic block's two convolutions."""
        y = nn.relu(norm(name=f"{name}_bn1")(conv(features, (3, 3), step, padding=1, name=f"{name}_conv1")(x)))
        return norm(name=f"{name}_bn2")(conv(features, (3, 3), padding=1, name=f"{name}_conv2")(y))
