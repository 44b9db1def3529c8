"""Stages `embedding_classifier` and `embedding`: the paper's embedding-space system (section 4.1).

The paper's symbols: X_1 an RGB embedding, X_2 an IR embedding of the same identity, X_3 an IR embedding of another one;
m identity-independent and s identity-specific component; X_1^3 = D_rgb(m_{X_1}, s_{X_3}), the embedding with the m of
X_1 and the s of X_3.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from rgbir_jax.losses import identity, ranking
from rgbir_jax.losses.reconstruction import l1
from rgbir_jax.models.embedding import EmbeddingClassifier, EmbeddingDecoder, EmbeddingEncoder
from rgbir_jax.stages.weights import total, weight_schedules
from rgbir_jax.training import parallel
from rgbir_jax.training.descent import descend
from rgbir_jax.training.optimizers import Optimizers, Schedule
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import Network, State, call, initialise

Embeddings = Float[Array, "n dim"]
STREAMS = ("rgb", "ir")  # the suffix of a modality's networks at its number
TRIPLETS = ("random", "hard")
COMPONENTS = ("m", "s")  # what E gives, in its order


def standardised(x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """Embeddings as the networks see them: each divided by its root mean square.

    Retrieval compares directions alone, so nothing is lost; on unit vectors of 512 dimensions, elements of which are
    near 0.04, the l1 terms would be too small beside the others for anything to be reconstructed.
    """
    return x / jnp.maximum(jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True)), 1e-12)


def build_classifier(config: ConfigDict, name: str, classes: int) -> Stage:
    """The stage `embedding_classifier` that `config[name]` describes, for `classes` training identities."""
    training = ClassifierTraining.build(config, config[name], classes)
    return Stage(
        init=training.init,
        train_step=training.train_step,
        features=training.features,
        pictures=lambda state, embeddings: {},
        networks=training.networks,
        groups=training.optimizers.groups,
        schedules=training.optimizers.schedules,
        reads=config[name].reads,
    )


def build(config: ConfigDict, name: str, classes: int) -> Stage:
    """The stage `embedding` that `config[name]` describes, for `classes` training identities."""
    own = config[name]
    system = EmbeddingSystem.build(config, own, classes)
    return Stage(
        init=system.init,
        train_step=system.train_step,
        features=partial(system.component, "s"),
        pictures=lambda state, embeddings: {},
        networks=system.networks,
        groups=system.optimizers.groups,
        schedules=system.optimizers.schedules | {f"weight/{term}": weight for term, weight in system.weights.items()},
        controls={"m": partial(system.component, "m")},
        needs=(own.classifier,) if own.classifier else (),
        reads=own.reads,
    )


@dataclass(frozen=True)
class ClassifierTraining:
    """Classifies embeddings of both modalities with one network."""

    classifier: EmbeddingClassifier
    networks: dict[str, Network]
    optimizers: Optimizers

    @classmethod
    def build(cls, config: ConfigDict, own: ConfigDict, classes: int) -> "ClassifierTraining":
        """Module and optimiser from the config."""
        classifier = EmbeddingClassifier(classes, **own.networks.classifier, dtype=jnp.dtype(config.dtype))
        networks = {"classifier": Network(classifier, (_embedding(config, own),))}
        return cls(classifier, networks, Optimizers(own.optimizers, own.decay, tuple(networks)))

    def init(self, key, previous):
        """Fresh parameters; no earlier stage's are needed."""
        del previous
        params, batch_stats = initialise(key, self.networks)
        return State(jnp.int32(0), params, batch_stats, self.optimizers.init(params))

    def train_step(self, state, batch, key):
        """Minimises E[−log p(y|X)] over all embeddings."""

        def loss(params, batch_stats, batch, key):
            del key
            x = standardised(batch["embedding"])
            label = jnp.broadcast_to(batch["label"][:, None, None], x.shape[:3]).reshape(-1)
            _, logits = call(self.classifier, params["classifier"], x.reshape(-1, x.shape[-1]))
            metrics = {"L_id": identity.cross_entropy(logits, label), "accuracy": identity.accuracy(logits, label)}
            return metrics["L_id"], (metrics, batch_stats)

        return descend(loss, state, self.optimizers, batch, key)

    def features(self, state, embeddings, modality):
        """The hidden layer, one network for both modalities."""
        del modality
        hidden, _ = call(self.classifier, state.params["classifier"], standardised(embeddings))
        return hidden


class Triplets(NamedTuple):
    """[X_1, X_2, X_3] of one device with their components and whose they are, n triplets."""

    X_1: Embeddings
    X_2: Embeddings
    X_3: Embeddings
    m_1: Float[Array, "n code"]
    s_1: Float[Array, "n code"]
    m_2: Float[Array, "n code"]
    s_2: Float[Array, "n code"]
    m_3: Float[Array, "n code"]
    s_3: Float[Array, "n code"]
    y_1: Int[Array, "n"]
    y_3: Int[Array, "n"]


@dataclass(frozen=True)
class EmbeddingSystem:
    """E_rgb, E_ir, D_rgb and D_ir with their losses.

    Every RGB embedding of a batch is once the X_1 of a triplet; the triplets that `config.triplets` chooses serve all
    terms. Where the paper is silent: embeddings are `standardised`; ‖·‖₁ of embeddings is averaged over the elements,
    as in the image-space system, ‖·‖₁ of codes in L_triplet is a sum.
    """

    config: ConfigDict
    E: EmbeddingEncoder
    D: EmbeddingDecoder
    classifier: EmbeddingClassifier | None
    networks: dict[str, Network]
    optimizers: Optimizers
    weights: dict[str, Schedule]

    @classmethod
    def build(cls, config: ConfigDict, own: ConfigDict, classes: int) -> "EmbeddingSystem":
        """Modules, optimisers and weights from the config.

        Raises:
            ValueError: for a recipe of one modality, unknown triplets, or L_dis without a classifier.
        """
        if tuple(config.modalities) != (0, 1):
            raise ValueError(f"triplets need RGB and IR; set config.modalities = (0, 1), not {config.modalities}.")
        if own.triplets not in TRIPLETS:
            raise ValueError(f'triplets "{own.triplets}" are unknown; choose one of {", ".join(TRIPLETS)}.')
        weights = weight_schedules(own.weights)
        if "L_dis" in weights and not own.classifier:
            raise ValueError(
                "L_dis needs a classifier: name an embedding_classifier stage of the recipe, or set its weight to 0."
            )
        dtype = jnp.dtype(config.dtype)
        x = _embedding(config, own)
        E = EmbeddingEncoder(**own.networks.E, dtype=dtype)
        D = EmbeddingDecoder(dim=x.shape[-1], **own.networks.D, dtype=dtype)
        networks = {f"E_{modality}": Network(E, (x,)) for modality in STREAMS}
        _, codes = networks["E_rgb"].shapes()
        networks |= {f"D_{modality}": Network(D, codes) for modality in STREAMS}
        classifier = None
        if own.classifier:
            classifier = EmbeddingClassifier(classes, **config[own.classifier].networks.classifier, dtype=dtype)
        return cls(
            config=own,
            E=E,
            D=D,
            classifier=classifier,
            networks=networks,
            optimizers=Optimizers(own.optimizers, own.decay, tuple(networks)),
            weights=weights,
        )

    def init(self, key, previous):
        """Fresh parameters; the classifier frozen beside them."""
        params, batch_stats = initialise(key, self.networks)
        frozen = {}
        if self.classifier:
            frozen["classifier"] = {"params": previous[self.config.classifier].params["classifier"]}
        return State(jnp.int32(0), params, batch_stats, self.optimizers.init(params), frozen)

    def encode(
        self,
        params: PyTree,
        embedding: Float[Array, "identity 2 shot dim"],
        label: Int[Array, "identity"],
        key: Array,
    ) -> Triplets:
        """Encodes the batch, chooses triplets from the global batch and keeps those of this device's anchors."""
        identities, _, shots, dim = embedding.shape
        rgb, ir = (standardised(embedding[:, modality]).reshape(-1, dim) for modality in (0, 1))
        y = jnp.repeat(label, shots)
        m_rgb, s_rgb = call(self.E, params["E_rgb"], rgb)
        m_ir, s_ir = call(self.E, params["E_ir"], ir)

        everyone = [parallel.gather(x) for x in (ir, m_ir, s_ir, y)]
        if self.config.triplets == "hard":
            by_identity = (s.reshape(-1, shots, s.shape[-1]) for s in (parallel.gather(s_rgb), everyone[2]))
            chosen = ranking.hard_triplets(*by_identity)
        else:
            chosen = ranking.random_triplets(key, len(everyone[0]) // shots, shots)
        mine = parallel.positions(identities)
        positive, negative = (place[mine].reshape(-1) for place in chosen)
        X_2, m_2, s_2, _ = (x[positive] for x in everyone)
        X_3, m_3, s_3, y_3 = (x[negative] for x in everyone)
        return Triplets(rgb, X_2, X_3, m_rgb, s_rgb, m_2, s_2, m_3, s_3, y, y_3)

    def terms(self, params: PyTree, classifier: PyTree, x: Triplets) -> dict[str, Array]:
        """Every term that has a weight, by the paper's symbol.

        Args:
            params: of E_rgb, E_ir, D_rgb and D_ir.
            classifier: the frozen classifier's variables; None without one.
            x: `encode` of the same params.
        """
        D_rgb, D_ir = (partial(call, self.D, params[f"D_{stream}"]) for stream in STREAMS)
        terms = {}
        if "L_simple" in self.weights:
            terms["L_simple"] = (
                l1(x.X_1, D_rgb(x.m_1, x.s_1)) + l1(x.X_2, D_ir(x.m_2, x.s_2)) + l1(x.X_3, D_ir(x.m_3, x.s_3))
            )
        if "L_cross" in self.weights:
            terms["L_cross"] = l1(x.X_1, D_rgb(x.m_1, x.s_2)) + l1(x.X_2, D_ir(x.m_2, x.s_1))
        if "L_dis" in self.weights and self.classifier:
            _, p_13 = call(self.classifier, classifier["params"], D_rgb(x.m_1, x.s_3))
            _, p_31 = call(self.classifier, classifier["params"], D_ir(x.m_3, x.s_1))
            terms["L_dis"] = identity.cross_entropy(p_13, x.y_3) + identity.cross_entropy(p_31, x.y_1)
        if "L_triplet" in self.weights:
            terms["L_triplet"] = jnp.mean(ranking.triplet(x.s_1, x.s_2, x.s_3, self.config.margin))
        return terms

    def train_step(self, state, batch, key):
        """Minimises L_total, the weighted sum of the terms."""

        def loss(params, batch_stats, batch, key):
            triplets = self.encode(params, batch["embedding"], batch["label"], key)
            terms = self.terms(params, state.frozen.get("classifier"), triplets)
            L_total = total(terms, self.weights, state.step)
            return L_total, (terms | {"L_total": L_total}, batch_stats)

        return descend(loss, state, self.optimizers, batch, jax.random.fold_in(key, state.step))

    def component(self, name, state, embeddings, modality):
        """The s or the m of each embedding, from its own encoder."""
        x = standardised(embeddings)
        rgb, ir = (call(self.E, state.params[f"E_{stream}"], x)[COMPONENTS.index(name)] for stream in STREAMS)
        return jnp.where(modality[:, None] == 0, rgb, ir)


def _embedding(config: ConfigDict, own: ConfigDict) -> jax.ShapeDtypeStruct:
    """One embedding of the stage that `own.reads` names."""
    return jax.ShapeDtypeStruct((1, config[own.reads].networks.head.bottleneck), jnp.float32)
