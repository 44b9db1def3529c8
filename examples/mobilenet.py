"""A custom backbone for E_a: a short MobileNetV2, in the teacher and in the image stage.

    python train.py --config examples/mobilenet.py --workdir runs/mobilenet
    python eval.py --workdir runs/mobilenet

A backbone is a linen module (images [n, h, w, 3], train) -> feature maps [n, h/16, w/16, channels]. Its fields are the
keys of `networks.E_a`, and two that every backbone gets: `axis_name`, over which BatchNorm averages, and `dtype`.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from configs import quickstart


class MobileNet(nn.Module):
    """A convolution, then four stages of two inverted residual blocks: wide inside, filtered channel by channel."""

    width: int = 16
    expansion: int = 6
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train: bool):
        """Feature maps of normalised images."""
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, axis_name=self.axis_name)
        x = nn.relu6(norm()(conv(self.width, (3, 3), 2)(x.astype(self.dtype))))
        for stage, stride in enumerate((2, 2, 2, 1)):
            for block in range(2):
                wide = self.expansion * x.shape[-1]
                y = nn.relu6(norm()(conv(wide, (1, 1))(x)))
                step = stride if block == 0 else 1
                y = nn.relu6(norm()(conv(wide, (3, 3), step, feature_group_count=wide)(y)))
                y = norm()(conv(self.width * 2**stage, (1, 1))(y))
                x = x + y if x.shape == y.shape else y
        return x


def get_config():
    """The quickstart with this backbone."""
    config = quickstart.get_config()
    for stage in config.recipe:
        old = config[stage].networks.E_a
        config[stage].networks.E_a = {"kind": "mobilenet:MobileNet", "width": 8, "slices": old.slices, "pool": old.pool}
    return config
