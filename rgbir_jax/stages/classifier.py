"""Stage `classifier`: the baseline CNN trained with identification loss on RGB and IR, L_dis' teacher (section 3.4).

With the input "zero_padded" it is the deep zero-padding network of Wu et al. (ICCV 2017), and without a bottleneck the
one-stream network of the same paper.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from rgbir_jax.errors import UserError
from rgbir_jax.lookup import choose
from rgbir_jax.losses import identity
from rgbir_jax.stages.inputs import INPUTS, check_input, input_of, network_input
from rgbir_jax.stages.pairing import check_both_modalities
from rgbir_jax.stages.recognition import Recogniser
from rgbir_jax.stages.views import flatten, views
from rgbir_jax.training.descent import descend
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import DeviceBatch, FeatureMap, Images, Key, Metrics, Stage, image_spec
from rgbir_jax.training.state import State


@dataclass(frozen=True, eq=False)
class Classifier(Stage):
    """Classifies the identities of both modalities with one network.

    Attributes:
        recogniser: E_a with its identity head.
    """

    read_late = ("total_scale",)

    recogniser: Recogniser

    @classmethod
    def build(cls, recipe: ConfigDict, name: str, classes: int) -> "Classifier":
        """Makes the stage that `recipe[name]` describes.

        Raises:
            UserError: for an unknown input, another one than that of the stage it starts from, or what zero-padding
                cannot use: one modality, or rectangles that are erased with a colour.
        """
        config = recipe[name]
        if choose(input_of(config), INPUTS, f"config.{name}.input") == "zero_padded":
            check_both_modalities(recipe, "zero-padding needs")
            if "fill" in recipe.augment.erase:
                raise UserError("zero-padding erases with 0 in both channels; leave config.augment.erase.fill out.")
        check_input(recipe, name)
        recogniser = Recogniser.build(config.networks, classes, recipe.dtype, f"config.{name}.networks")
        seen = partial(network_input, input_of(config))
        networks = recogniser.networks(jax.eval_shape(seen, image_spec(recipe), jnp.zeros(1, jnp.int32)))
        optimizers = Optimizers(config.optimizers, config.decay, tuple(networks))
        return cls(recipe, config, classes, networks, optimizers, {}, recogniser)

    def init(self, key: Key, previous: dict[str, State]) -> State:
        """Makes fresh parameters, or takes those of the earlier stage that `start_from` names."""
        state = super().init(key, previous)
        if not self.config.start_from:
            return state
        start = previous[self.config.start_from]
        return dataclasses.replace(state, params=dict(start.params), batch_stats=dict(start.batch_stats))

    def train_step(self, state: State, batch: DeviceBatch, key: Key) -> tuple[State, Metrics]:
        """Minimises `total_scale` · L_id, L_id = E[−log p(y|x)]."""
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        view = views(augment_key, batch["image"], batch["label"], self.recipe.augment, self.seen)

        def loss(params, batch_stats, view, key):
            recognised, batch_stats = self.recogniser.train(params, batch_stats, flatten(view.erased), key)
            logits, y = recognised.logits["head"], flatten(view.label)
            metrics = {"L_id": identity.cross_entropy(logits, y), "accuracy": identity.accuracy(logits, y)}
            return self.config.total_scale * metrics["L_id"], (metrics, batch_stats)

        return descend(loss, state, self.optimizers, view, dropout_key, self.recipe.batch.parts)

    def seen(self, x: Images, modality: Int[Array, "n"]) -> Float[Array, "n height width channels"]:
        """Computes what E_a sees of normalised images."""
        return network_input(input_of(self.config), x, modality)

    @property
    def unused_after_training(self) -> tuple[str, ...]:
        """The head's classifier."""
        return self.recogniser.unused_after_training

    def feature_map(self, state: State, inputs: Images, modality: Int[Array, "n"]) -> FeatureMap:
        """Returns E_a's last feature map, of one network for both modalities."""
        return self.recogniser.feature_map(state.params, state.batch_stats, self.seen(inputs, modality))

    def features_of_map(
        self, state: State, feature_map: FeatureMap, modality: Int[Array, "n"]
    ) -> Float[Array, "n dim"]:
        """Computes the bottleneck after BatchNorm; without a bottleneck, the pooled features."""
        del modality
        return self.recogniser.retrieval_feature(state.params, state.batch_stats, feature_map)

    def normalise(self, features: Float[Array, "n dim"]) -> Float[Array, "n dim"]:
        """Scales features to unit vectors, each head's first."""
        return self.recogniser.normalise(features)
