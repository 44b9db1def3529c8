"""ResNet-50 (He et al. 2016) without pooling and classifier; its last stage has stride 1."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import EPSILON, convolve, kaiming_fan_out

STRIDES = (1, 2, 2, 1)  # one per stage; the original has 2 at the end
EXPANSION = 4


class ResNet50(nn.Module):
    """The trunk. Submodules have torchvision's names with "_" for "." (layer1_0_conv1, layer1_0_downsample_0).

    Attributes:
        width: number of channels of the first convolution; 64 in the paper. The output has 32 times as many channels.
        blocks: number of residual blocks in each stage; the default is ResNet-50's.
        axis_name: name of the device axis over which BatchNorm averages.
        dtype: dtype of the convolutions; statistics are float32.
    """

    width: int = 64
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"], train: bool) -> Float[Array, "n H W c"]:
        """Returns feature maps at a sixteenth of the input's height and width."""
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
            features = self.width * 2**stage
            for block in range(blocks):
                name = f"layer{stage + 1}_{block}"
                step = stride if block == 0 else 1
                y = nn.relu(norm(name=f"{name}_bn1")(conv(features, (1, 1), name=f"{name}_conv1")(x)))
                y = conv(features, (3, 3), step, padding=1, name=f"{name}_conv2")(y)
                y = nn.relu(norm(name=f"{name}_bn2")(y))
                y = norm(name=f"{name}_bn3")(conv(EXPANSION * features, (1, 1), name=f"{name}_conv3")(y))
                if block == 0:
                    x = conv(EXPANSION * features, (1, 1), step, name=f"{name}_downsample_0")(x)
                    x = norm(name=f"{name}_downsample_1")(x)
                x = nn.relu(x + y)
        return x
