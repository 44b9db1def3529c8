"""Small forms of Hi-CMD. Its own networks take a minute to compile even if they are narrow.

Thin networks have one or two layers each and compile in seconds; the stage around them is the real one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp

from configs import sysu_hicmd
from rgbir_jax.models.discriminator import Discriminator
from rgbir_jax.models.generator import Generator
from rgbir_jax.models.resnet import ResNet50
from rgbir_jax.models.structure_encoder import ResidualEncoder
from rgbir_jax.stages import hicmd, hicmd_generation, hicmd_recognition
from rgbir_jax.stages.hicmd import HiCMD
from tests.tiny import drawn_batch

CLASSES = 6


def patches(x, side: int = 4):
    """Cuts images into squares: [n, h, w, c] -> [n, h / side, w / side, side * side * c]."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // side, side, w // side, side, c).swapaxes(2, 3)
    return x.reshape(n, h // side, w // side, side * side * c)


class ThinEncoder(ResidualEncoder):
    @nn.compact
    def __call__(self, x):
        return jnp.tanh(nn.Dense(self.code)(patches(x)))


class ThinResNet(ResNet50):
    @nn.compact
    def __call__(self, x, train, only=None):
        side, channels = (8, 32 * self.width) if 4 in self.stages else (2, 16 * self.width)
        x = nn.Dense(channels)(patches(x, side))
        return nn.softplus(nn.BatchNorm(use_running_average=not train, momentum=0.9, axis_name=self.axis_name)(x))


class ThinGenerator(Generator):
    @nn.compact
    def __call__(self, a, s):
        n, h, w, _ = s.shape
        scale, bias = jnp.split(nn.Dense(2 * self.mlp)(a.reshape(n, 1, 1, -1)), 2, axis=-1)
        x = nn.softplus(nn.Dense(self.mlp)(s)) * scale + bias
        x = nn.Dense(48)(x).reshape(n, h, w, 4, 4, 3)
        return x.swapaxes(2, 3).reshape(n, 4 * h, 4 * w, 3)


class ThinDiscriminator(Discriminator):
    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(self.width)(patches(x)))
        return [nn.Dense(1, name=f"scale_{scale}")(x[:, :: scale + 1]) for scale in range(self.num_scales)]


def thin_config(preset: str = "paper"):
    """Returns Hi-CMD's recipe with narrow networks.

    The preset `paper` has nothing random but flips and quick optimisers; `released` has dropout, erasing and plain SGD.
    """
    config = sysu_hicmd.get_config(preset)
    config.dtype = "float32"
    config.image_size = (16, 8)
    networks = config.hicmd.networks
    networks.E_p.update({"width": 2, "code": 6})
    networks.E_t.width = networks.HFL.width = 1
    networks.G.mlp = 12
    networks.D.update({"width": 4, "num_scales": 2})
    networks.head.update({"bottleneck": 8, "triplet": 5})
    rule = {"kind": "sgd", "learning_rate": 1e-3, "momentum": 0.0, "l2": 0.0}
    if preset == "paper":
        config.batch.identities = 4
        config.augment.erase.probability = networks.head.dropout = 0.0
        rule = {"kind": "adam", "learning_rate": 1e-2, "b1": 0.9, "b2": 0.999, "l2": 0.0}
    for group in config.hicmd.optimizers.values():
        group.update(rule)
    return config


def tiny_config():
    """Returns the recipe with Hi-CMD's own networks, narrow and short."""
    config = sysu_hicmd.get_config()
    config.dtype = "float32"
    config.image_size = (32, 16)
    networks = config.hicmd.networks
    networks.E_p.update({"width": 2, "code": 8})
    networks.E_t.update({"width": 2, "blocks": (1, 1, 1, 1)})
    networks.HFL.update({"width": 2, "blocks": (1, 1, 1, 1)})
    networks.G.mlp = 8
    networks.D.update({"width": 2, "num_scales": 2, "init_std": 0.2})
    networks.head.update({"bottleneck": 8, "triplet": 8})
    return config


@contextmanager
def thin_networks() -> Iterator[None]:
    """Lets stages be built with thin networks."""
    with (
        mock.patch.object(hicmd_generation, "ResidualEncoder", ThinEncoder),
        mock.patch.object(hicmd_generation, "ResNet50", ThinResNet),
        mock.patch.object(hicmd_generation, "Generator", ThinGenerator),
        mock.patch.object(hicmd_recognition, "ResNet50", ThinResNet),
        mock.patch.object(hicmd, "Discriminator", ThinDiscriminator),
    ):
        yield


@cache
def system(preset: str = "paper"):
    """Returns (config, stage, state, batch)."""
    config = thin_config(preset)
    with thin_networks():
        stage = HiCMD.build(config, "hicmd", CLASSES)
    return config, stage, jax.jit(stage.init)(jax.random.key(0), {}), drawn_batch(config, CLASSES)
