"""DEEN's body: stages that attend to the map before them, and an expansion of the embedding to three (CVPR 2023)."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import Dropout, kaiming_fan_out, mean_pool
from rgbir_jax.models.non_local import NonLocal

EXPANSIONS = 2
DILATIONS = (1, 2, 3)


class Aggregation(nn.Module):
    """Multi-stage feature aggregation (MFA): a map attends to the one before it, by channels, then by positions.

    Attributes:
        axis_name: name of the device axis over which BatchNorm averages.
        dtype: dtype of the convolutions.
    """

    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], before: Float[Array, "n H W C"], train: bool
    ) -> Float[Array, "n h w c"]:
        """Returns a stage's map x with what it attends to in the map `before` the stage; x itself at first."""
        width = before.shape[-1]
        attend = partial(NonLocal, axis_name=self.axis_name, dtype=self.dtype)
        x = attend(width, of_channels=True, name="channels")(x, before, train)
        return attend(width // 2, name="positions")(x, before, train)


class Expansion(nn.Module):
    """One branch of the diverse embedding expansion (DEE): the mean of dilated 3x3 convolutions, ReLU, 1x1.

    Attributes:
        dtype: dtype of the convolutions.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Returns another map of the same shape."""
        conv = partial(nn.Conv, kernel_init=kaiming_fan_out, dtype=self.dtype)
        dilated = partial(conv, x.shape[-1] // 4, (3, 3), use_bias=False)
        outputs = [dilated(padding=step, kernel_dilation=step, name=f"dilated_{step}")(x) for step in DILATIONS]
        mean = sum(outputs[1:], start=outputs[0]) / len(DILATIONS)
        return conv(x.shape[-1], (1, 1), name="out")(nn.relu(mean))


class ExpandedBody(nn.Module):
    """The other stages of a ResNet for both modalities; the last one sees each map and its `EXPANSIONS`.

    Attributes:
        trunk: stages 1 to 4 of a ResNet.
        dropout: dropout probability of the maps that the last stage sees.
        axis_name: name of the device axis.
        dtype: dtype of the convolutions.
    """

    trunk: nn.Module
    dropout: float = 0.01
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @property
    def vectors(self) -> int:
        """The number of pooled features of an image: its own and those of its expansions."""
        return 1 + EXPANSIONS

    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n vectors channels"]:
        """Returns pooled features, float32."""
        return self.pooled(self.feature_map(x, train))

    @nn.compact
    def feature_map(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n H W all"]:
        """Returns the last feature map of an image, followed by those of its expansions along the channels, float32."""
        for stage in (1, 2, 3):
            merge = Aggregation(self.axis_name, self.dtype, name=f"aggregation_{stage}")
            x = merge(self.trunk(x, train, (stage,)), x, train)
        x = jnp.stack([x, *(Expansion(self.dtype, name=f"expansion_{i}")(x) for i in range(EXPANSIONS))], axis=1)
        x = Dropout(self.dropout, self.axis_name)(x, train)
        maps = self.trunk(x.reshape(-1, *x.shape[2:]), train, (4,)).astype(jnp.float32)
        maps = jnp.moveaxis(maps.reshape(*x.shape[:2], *maps.shape[1:]), 1, 3)
        return maps.reshape(*maps.shape[:3], maps.shape[3] * maps.shape[4])

    def pooled(self, feature_map: Float[Array, "n H W all"]) -> Float[Array, "n vectors channels"]:
        """Averages the feature maps over their positions; no parameters."""
        return mean_pool(feature_map).reshape(-1, self.vectors, feature_map.shape[-1] // self.vectors)
