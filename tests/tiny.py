"""Recipes that are small enough to compile in seconds, and batches for them."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import (
    quickstart,
    sysu_agw,
    sysu_caj,
    sysu_cmgan,
    sysu_cmpig,
    sysu_deen,
    sysu_rle,
    sysu_sdl,
    sysu_two_stream,
)

TWO_STEM = {"agw": sysu_agw, "caj": sysu_caj, "rle": sysu_rle, "deen": sysu_deen}


def tiny_config(preset: str = "paper") -> ConfigDict:
    """Returns the quickstart's recipe with narrower networks, which compute everything and compile quickly."""
    config = quickstart.small(preset)
    config.batch.identities = 4
    for name in config.recipe:
        config[name].networks.E_a.width = 4
        for head in config[name].networks.heads:
            config[name].networks[head].update({"bottleneck": 8, "dropout": 0.0})
    config.image.networks.E_s.update({"width": 2, "code": 8})
    if "E_id" in config.image.networks:
        config.image.networks.E_id.update({"width": 4, "hidden": 4})
    config.image.networks.G.mlp = 8
    config.image.networks.D.width = 2
    return config


def tiny_two_stream_config(preset: str = "bdtr") -> ConfigDict:
    """Returns the two-stream recipe with narrow and short networks."""
    config = sysu_two_stream.get_config(preset)
    config.dtype = "float32"
    config.image_size = (32, 16)
    config.batch.identities = 4
    config.augment.pad = 2
    config.two_stream.networks.stream.update({"width": 4, "blocks": (1, 1, 1, 1)})
    config.two_stream.networks.head.update({"bottleneck": 8})
    for group in config.two_stream.optimizers:
        config.two_stream.optimizers[group].learning_rate = 0.02
    return config


def tiny_sdl_config(preset: str = "paper") -> ConfigDict:
    """Returns SDL's recipe with narrow and short networks."""
    config = sysu_sdl.get_config(preset)
    config.dtype = "float32"
    config.image_size = (32, 16)
    config.batch.identities = 4
    config.augment.pad = 2
    config.sdl.networks.stream.update({"width": 4, "blocks": (1, 1, 1, 1)})
    config.sdl.networks.head.bottleneck = 8
    return config


def tiny_cmpig_config(preset: str = "paper") -> ConfigDict:
    """Returns cmPIG's recipe with narrow and short networks, on the smallest images that four halvings allow."""
    config = sysu_cmpig.get_config(preset)
    config.dtype = "float32"
    config.image_size = (64, 32)
    config.batch.update({"identities": 4, "shots": 2})
    generation = config.generation
    generation.networks.E.update({"width": 4, "blocks": (1, 1, 1, 1)})
    generation.networks.style.update({"width": 2, "code": 4})
    generation.networks.G.mlp = 4
    generation.networks.D.update({"width": 2, "num_scales": 1, "init_std": 0.2})
    generation.drawn.update({"identities": 4, "shots": 1})
    return config


def tiny_cmgan_config() -> ConfigDict:
    """Returns cmGAN's recipe with narrow and short networks."""
    config = sysu_cmgan.get_config()
    config.dtype = "float32"
    config.image_size = (32, 16)
    config.batch.identities = 4
    config.augment.pad = 2
    config.cmgan.networks.E.update({"width": 4, "blocks": (1, 1, 1, 1)})
    config.cmgan.networks.head.hidden = (8,)
    config.cmgan.networks.D.hidden = (8, 4)
    return config


def tiny_two_stem_config(system: str = "agw") -> ConfigDict:
    """Returns the recipe of a key of `TWO_STEM` with narrow and short networks and Adam, which trains them quickly."""
    config = TWO_STEM[system].get_config()
    config.dtype = "float32"
    config.image_size = (48, 16)
    config.batch.update({"identities": 4, "shots": 2})
    config.augment.pad = 0
    config.augment.erase.probability = 0.0
    stage = config[system]
    stage.networks.resnet.update({"width": 4, "blocks": (1, 1, 1, 1)})
    if any(stage.networks.resnet.non_local):
        stage.networks.resnet.non_local = (0, 1, 1, 0)
    for group in stage.optimizers.values():
        group.update({"kind": "adam", "learning_rate": 1e-2, "b1": 0.9, "b2": 0.999, "l2": 0.0})
    stage.decay.update({"at": (), "warmup": 0})
    return config


def drawn_batch(config: ConfigDict, classes: int = 4) -> dict:
    """Returns a batch of noise with the shapes of a real one: [identity, modality, shot, height, width, 3]."""
    rng = np.random.default_rng(0)
    shape = (config.batch.identities, len(config.modalities), config.batch.shots)
    return {
        "image": jnp.asarray(rng.integers(0, 256, (*shape, *config.image_size, 3)), jnp.uint8),
        "label": jnp.arange(config.batch.identities, dtype=jnp.int32) % classes,
        "camera": jnp.ones(shape, jnp.int32),
    }


@pytest.fixture
def tiny():
    """Returns (config, batch) of the tiny recipe."""
    config = tiny_config()
    return config, drawn_batch(config)
