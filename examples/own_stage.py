"""A custom stage: `python train.py --config examples/own_stage.py --workdir runs/own_stage`."""

import flax.linen as nn
import jax.numpy as jnp

from configs import quickstart
from rgbir_jax.data.augment import normalise
from rgbir_jax.losses import identity
from rgbir_jax.stages.weights import total, weight_schedules
from rgbir_jax.training.descent import descend
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import Stage, image_spec
from rgbir_jax.training.state import Network, call


class Small(nn.Module):
    """(features, logits) of images."""

    classes: int

    @nn.compact
    def __call__(self, x):
        for width in (16, 32, 64):
            x = nn.relu(nn.Conv(width, (3, 3), 2)(x))
        features = nn.Dense(64)(jnp.max(x, axis=(1, 2)))
        return features, nn.Dense(self.classes)(nn.relu(features))


class Centres(Stage):
    """Minimises L_id + L_centre, the squared distance between an identity's mean RGB and mean IR feature."""

    @classmethod
    def build(cls, recipe, name, classes):
        config, networks = recipe[name], {"small": Network(Small(classes), (image_spec(recipe),))}
        optimizers = Optimizers(config.optimizers, config.decay, tuple(networks))
        return cls(recipe, config, classes, networks, optimizers, weight_schedules(config.weights))

    def train_step(self, state, batch, key):
        def loss(params, batch_stats, batch, key):
            x = normalise(batch["image"])
            features, logits = call(self.networks["small"].module, params["small"], x.reshape(-1, *x.shape[3:]))
            rgb, ir = jnp.mean(features.reshape(*x.shape[:3], -1), axis=2).swapaxes(0, 1)
            label = jnp.repeat(batch["label"], len(logits) // len(batch["label"]))
            terms = {"L_id": identity.cross_entropy(logits, label), "L_centre": jnp.mean((rgb - ir) ** 2)}
            return total(terms, self.weights, state.step), (terms, batch_stats)

        return descend(loss, state, self.optimizers, batch, key)

    def features(self, state, inputs, modality):
        return call(self.networks["small"].module, state.params["small"], inputs)[0]


def get_config():
    config = quickstart.get_config()
    own = {"stage": "own_stage:Centres", "weights": {"L_id": 1.0, "L_centre": 0.1}, "networks": {}}
    own["optimizers"] = {"all": config.teacher.optimizers.head.to_dict() | {"networks": ("small",)}}
    config.centres = config.teacher.to_dict() | own
    config.recipe = ("centres",)
    return config
