"""ResNet-50 and ResNet-18 (He et al. 2016) without pooling and classifier, whole or in pieces."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.errors import UserError
from rgbir_jax.models.layers import EPSILON, convolve, kaiming_fan_out
from rgbir_jax.models.non_local import NonLocal

STEM = 0
STAGES = (STEM, 1, 2, 3, 4)
EXPANSION = 4


class ResNet(nn.Module):
    """What both have in common. Submodules have torchvision's names with "_" for "." (layer1_0_conv1).

    Attributes:
        width: number of channels of the first convolution; 64 in the original.
        blocks: number of residual blocks in each of the four stages.
        stages: the stages that this piece has, in order. Stage 0 is the stem: convolution, BatchNorm and pooling.
        last_stride: stride of the fourth stage; 2 in the original.
        stem_relu: whether the stem has a ReLU, as in the original.
        non_local: number of blocks at the end of each of the four stages that a non-local block follows.
        non_local_width: number of inner channels of the non-local blocks; 0 for half of their input's.
        axis_name: name of the device axis over which BatchNorm averages.
        dtype: dtype of the convolutions; statistics are float32.
    """

    width: int = 64
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    stages: tuple[int, ...] = STAGES
    last_stride: int = 1
    stem_relu: bool = True
    non_local: tuple[int, ...] = (0, 0, 0, 0)
    non_local_width: int = 1
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
    def __call__(
        self, x: Float[Array, "n h w c"], train: bool, only: tuple[int, ...] | None = None
    ) -> Float[Array, "n H W C"]:
        """Returns feature maps; those of all stages have a sixteenth of the input's height and width.

        Args:
            x: images, or the feature maps that the stage before the first one of this piece gives.
            train: whether BatchNorm uses the batch's statistics.
            only: the stages to apply, some of `stages`; None for all of them.

        Raises:
            UserError: for another number of stages in `blocks` or `non_local`, or another last stride.
        """
        self._check()
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
        x = x.astype(self.dtype)
        for number in self.stages if only is None else only:
            x = self._stem(conv, norm, x) if number == STEM else self._stage(conv, norm, x, number, train)
        return x

    def _stem(self, conv: Callable, norm: Callable, x: Array) -> Array:
        x = norm(name="bn1")(conv(self.width, (7, 7), 2, padding=3, name="conv1")(x))
        x = nn.relu(x) if self.stem_relu else x
        return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))  # pyright: ignore[reportArgumentType]

    def _stage(self, conv: Callable, norm: Callable, x: Array, number: int, train: bool) -> Array:
        stride = (1, 2, 2, self.last_stride)[number - 1]
        blocks, non_local = self.blocks[number - 1], self.non_local[number - 1]
        for block in range(blocks):
            name = f"layer{number}_{block}"
            step = stride if block == 0 else 1
            y = self.branch(conv, norm, x, self.width * 2 ** (number - 1), step, name)
            if x.shape != y.shape:
                x = conv(y.shape[-1], (1, 1), step, name=f"{name}_downsample_0")(x)
                x = norm(name=f"{name}_downsample_1")(x)
            x = nn.relu(x + y)
            if block >= blocks - non_local:
                x = NonLocal(self.non_local_width, False, self.axis_name, self.dtype, name=f"{name}_non_local")(
                    x, x, train
                )
        return x

    def _check(self) -> None:
        for key, numbers in (("blocks", self.blocks), ("non_local", self.non_local)):
            if len(numbers) != len(STAGES) - 1:
                raise UserError(f"a ResNet has {len(STAGES) - 1} stages; set {key} to as many numbers, not {numbers}.")
        if self.last_stride not in (1, 2):
            raise UserError(f"a ResNet's last_stride is {self.last_stride}; set it to 1 or 2.")


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
