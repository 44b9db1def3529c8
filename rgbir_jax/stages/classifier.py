"""Stage `classifier`: the baseline CNN trained with identification loss on RGB and IR, L_dis' teacher (section 3.4)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from rgbir_jax.losses import identity
from rgbir_jax.stages.recognition import Recogniser
from rgbir_jax.stages.views import flatten, views
from rgbir_jax.training.descent import descend
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import Network, State, initialise


def build(config: ConfigDict, name: str, classes: int) -> Stage:
    """The stage that `config[name]` describes, for `classes` training identities."""
    own = config[name]
    recogniser = Recogniser.build(own.networks, classes, config.dtype)
    networks = recogniser.networks(config.image_size)
    optimizers = Optimizers(own.optimizers, own.decay, tuple(networks))
    training = ClassifierTraining(own, config.augment, recogniser, networks, optimizers, config.batch.parts)
    return Stage(
        init=training.init,
        train_step=training.train_step,
        features=training.features,
        pictures=lambda state, images: {},
        networks=networks,
        groups=optimizers.groups,
        schedules=optimizers.schedules,
        normalise=recogniser.normalise,
        needs=(own.start_from,) if own.start_from else (),
    )


@dataclass(frozen=True)
class ClassifierTraining:
    """Classifies identities of both modalities with one network."""

    config: ConfigDict
    augment: ConfigDict
    recogniser: Recogniser
    networks: dict[str, Network]
    optimizers: Optimizers
    parts: int

    def init(self, key, previous):
        """Fresh parameters, or those of an earlier stage if `start_from` names one."""
        params, batch_stats = initialise(key, self.networks)
        if self.config.start_from:
            start = previous[self.config.start_from]
            params, batch_stats = dict(start.params), dict(start.batch_stats)
        return State(jnp.int32(0), params, batch_stats, self.optimizers.init(params))

    def train_step(self, state, batch, key):
        """Minimises `total_scale` · L_id, L_id = E[−log p(y|x)]."""
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        view = views(augment_key, batch["image"], batch["label"], self.augment)

        def loss(params, batch_stats, view, key):
            seen, batch_stats = self.recogniser.train(params, batch_stats, flatten(view.erased), key)
            logits, y = seen.logits["head"], flatten(view.label)
            metrics = {"L_id": identity.cross_entropy(logits, y), "accuracy": identity.accuracy(logits, y)}
            return self.config.total_scale * metrics["L_id"], (metrics, batch_stats)

        return descend(loss, state, self.optimizers, view, dropout_key, self.parts)

    def features(self, state, images, modality):
        """The bottleneck after BatchNorm, one network for both modalities."""
        del modality
        return self.recogniser(state.params, state.batch_stats, images).retrieval_feature()
