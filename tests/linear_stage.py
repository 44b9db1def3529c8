"""A stage that compiles in a second, and a recipe of three: what happens around training needs no large network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from rgbir_jax.data.augment import normalise
from rgbir_jax.losses import identity
from rgbir_jax.training.descent import descend
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import Network, call
from tests.tiny import tiny_config


class Layers(nn.Module):
    """(features, logits) of vectors."""

    width: int
    classes: int

    @nn.compact
    def __call__(self, x):
        features = nn.Dense(self.width)(x)
        return features, nn.Dense(self.classes)(features)


class Linear(Stage):
    """Classifies images by the mean colours of their rows, or the features of another stage."""

    @classmethod
    def build(cls, recipe, name, classes):
        config = recipe[name]
        length = recipe[config.reads].networks.head.bottleneck if config.reads else 3 * recipe.image_size[0]
        module = Layers(config.networks.head.bottleneck, classes)
        networks = {"head": Network(module, (jax.ShapeDtypeStruct((1, length), jnp.float32),))}
        optimizers = Optimizers(config.optimizers, config.decay, tuple(networks))
        return cls(recipe, config, classes, networks, optimizers, {})

    def init(self, key, previous):
        state = super().init(key, previous)
        return state.replace(params=previous[self.needs[0]].params) if self.needs else state

    def train_step(self, state, batch, key):
        def loss(params, batch_stats, batch, key):
            x = batch["embedding"] if self.reads else _row_means(normalise(batch["image"]))
            _, logits = call(self.networks["head"].module, params["head"], x.reshape(-1, x.shape[-1]))
            label = jnp.repeat(batch["label"], len(logits) // len(batch["label"]))
            value = identity.cross_entropy(logits, label)
            return value, ({"L_id": value}, batch_stats)

        return descend(loss, state, self.optimizers, batch, key)

    def features(self, state, inputs, modality):
        x = inputs if self.reads else _row_means(inputs)
        return call(self.networks["head"].module, state.params["head"], x)[0]


def _row_means(images):
    return jnp.mean(images, axis=-2).reshape(*images.shape[:-3], -1)


def get_config(data_dir: str) -> ConfigDict:
    """Returns a recipe in which `second` starts from `first`, and `third` reads the features of `second`."""
    config = tiny_config()
    config.update({"source": "memory", "protocol": "agw", "data_dir": data_dir})
    for name, others in {"first": {}, "second": {"start_from": "first"}, "third": {"reads": "second"}}.items():
        section = {"stage": "tests.linear_stage:Linear", "from_run": "", "start_from": "", "reads": "", **others}
        section |= {"steps": 2, "log_every": 1, "evaluate_every": 0, "checkpoint_every": 1, "pictures_every": 0}
        section |= {"networks": {"head": {"bottleneck": 4}}, "decay": {"at": (), "factor": 1.0, "warmup": 0}}
        rule = {"kind": "sgd", "momentum": 0.9, "l2": 0.0, "clip": 0.0, "learning_rate": 0.1, "networks": ("head",)}
        config[name] = section | {"optimizers": {"all": rule}, "weights": {}}
    config.recipe = ("first", "second", "third")
    return config
