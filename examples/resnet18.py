"""A backbone of one's own for E_a: ResNet-18, in the teacher and in the image stage.

    python train.py --config examples/resnet18.py --workdir runs/resnet18
    python eval.py --workdir runs/resnet18

A backbone is a linen module (images [n, h, w, 3], train) -> feature maps [n, h/16, w/16, channels]. Its fields are the
keys of `networks.E_a`, and two that every backbone gets: `axis_name`, over which BatchNorm averages, and `dtype`.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from configs import quickstart


class ResNet18(nn.Module):
    """Four stages of two basic blocks; the last stage keeps its size, as in the paper's ResNet-50."""

    width: int = 64
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train: bool):
        """Feature maps of normalised images."""
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, axis_name=self.axis_name)
        x = nn.relu(norm()(conv(self.width, (7, 7), 2)(x.astype(self.dtype))))
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for stage, stride in enumerate((1, 2, 2, 1)):
            for block in range(2):
                step = stride if block == 0 else 1
                y = nn.relu(norm()(conv(self.width * 2**stage, (3, 3), step)(x)))
                y = norm()(conv(self.width * 2**stage, (3, 3))(y))
                if x.shape != y.shape:
                    x = norm()(conv(self.width * 2**stage, (1, 1), step)(x))
                x = nn.relu(x + y)
        return x


def get_config():
    """The quickstart with this backbone."""
    config = quickstart.get_config()
    for stage in config.recipe:
        old = config[stage].networks.E_a
        config[stage].networks.E_a = {"kind": "resnet18:ResNet18", "width": 16, "slices": old.slices, "pool": old.pool}
    return config
