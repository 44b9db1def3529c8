"""Stage `embedding_classifier`: the classifier on M_bdtr's embeddings that L_dis listens to (section 4.1)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from rgbir_jax.errors import UserError
from rgbir_jax.lookup import construct
from rgbir_jax.losses import identity
from rgbir_jax.models.embedding import EmbeddingClassifier
from rgbir_jax.training.descent import descend
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import DeviceBatch, Key, Metrics, Stage
from rgbir_jax.training.state import Network, State, call


def standardised(x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """Divides each embedding by its root mean square.

    Retrieval compares only directions, so nothing is lost. The elements of unit vectors of 512 dimensions are near
    0.04: without this, the l1 terms would be too small next to the others for anything to be reconstructed.
    """
    return x / jnp.maximum(jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True)), 1e-12)


def embedding_spec(recipe: ConfigDict, reads: str) -> jax.ShapeDtypeStruct:
    """Returns the shape of one embedding of the stage that is read.

    Raises:
        UserError: if its head has no bottleneck.
    """
    if not (size := recipe[reads].networks.head.bottleneck):
        raise UserError(f"embeddings are bottlenecks; set config.{reads}.networks.head.bottleneck to 1 or more.")
    return jax.ShapeDtypeStruct((1, size), jnp.float32)


@dataclass(frozen=True, eq=False)
class EmbeddingClassification(Stage):
    """Classifies embeddings of both modalities with one network.

    Attributes:
        classifier: the network.
    """

    classifier: EmbeddingClassifier

    @classmethod
    def build(cls, recipe: ConfigDict, name: str, classes: int) -> "EmbeddingClassification":
        """Makes the stage that `recipe[name]` describes."""
        config = recipe[name]
        key, dtype = f"config.{name}.networks.classifier", jnp.dtype(recipe.dtype)
        classifier = construct(EmbeddingClassifier, config.networks.classifier, key, classes=classes, dtype=dtype)
        networks = {"classifier": Network(classifier, (embedding_spec(recipe, config.reads),))}
        optimizers = Optimizers(config.optimizers, config.decay, tuple(networks))
        return cls(recipe, config, classes, networks, optimizers, {}, classifier)

    def train_step(self, state: State, batch: DeviceBatch, key: Key) -> tuple[State, Metrics]:
        """Minimises E[−log p(y|X)] over all embeddings."""

        def loss(params, batch_stats, batch, key):
            del key
            x = standardised(batch["embedding"])
            label = jnp.broadcast_to(batch["label"][:, None, None], x.shape[:3]).reshape(-1)
            _, logits = call(self.classifier, params["classifier"], x.reshape(-1, x.shape[-1]))
            metrics = {"L_id": identity.cross_entropy(logits, label), "accuracy": identity.accuracy(logits, label)}
            return metrics["L_id"], (metrics, batch_stats)

        return descend(loss, state, self.optimizers, batch, key)

    def features(self, state: State, inputs: Array, modality: Int[Array, "n"]) -> Float[Array, "n dim"]:
        """Returns the hidden layer, of one network for both modalities."""
        del modality
        hidden, _ = call(self.classifier, state.params["classifier"], standardised(inputs))
        return hidden
