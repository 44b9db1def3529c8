"""Stage `embedding`: the paper's embedding-space system (section 4.1).

The paper's symbols: X_1 an RGB embedding, X_2 an IR embedding of the same identity, X_3 an IR embedding of another one;
m identity-independent and s identity-specific component; X_1^3 = D_rgb(m_{X_1}, s_{X_3}), the embedding with the m of
X_1 and the s of X_3.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.errors import UserError
from rgbir_jax.lookup import choose, construct
from rgbir_jax.losses import identity, ranking
from rgbir_jax.losses.reconstruction import l1
from rgbir_jax.models.embedding import EmbeddingClassifier, EmbeddingDecoder, EmbeddingEncoder
from rgbir_jax.stages.embedding_classifier import embedding_spec, standardised
from rgbir_jax.stages.pairing import check_both_modalities
from rgbir_jax.stages.weights import total, weight_schedules
from rgbir_jax.training import parallel
from rgbir_jax.training.descent import descend
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import DeviceBatch, Key, Metrics, Stage
from rgbir_jax.training.state import Network, State, call

Embeddings = Float[Array, "n dim"]
TRIPLETS = ("random", "hard")
COMPONENTS = ("m", "s")  # the outputs of E, in order


class Triplets(NamedTuple):
    """The n triplets [X_1, X_2, X_3] of one device, with their components and identities."""

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


@dataclass(frozen=True, eq=False)
class EmbeddingSystem(Stage):
    """E_rgb, E_ir, D_rgb and D_ir with their losses.

    Every RGB embedding of a batch is the X_1 of one triplet. `config.triplets` chooses the triplets, and all terms use
    them. The paper does not say, so: embeddings are `standardised`; ‖·‖₁ of embeddings is averaged over the elements,
    as in the image-space system; ‖·‖₁ of codes in L_triplet is a sum.

    Attributes:
        E: the module of both encoders.
        D: the module of both decoders.
        classifier: the frozen classifier of L_dis; None without one.
        component: the component that is the retrieval feature.
    """

    read_late = ("margin",)

    E: EmbeddingEncoder
    D: EmbeddingDecoder
    classifier: EmbeddingClassifier | None
    component: Literal["m", "s"] = "s"

    @classmethod
    def build(cls, recipe: ConfigDict, name: str, classes: int) -> "EmbeddingSystem":
        """Makes the stage that `recipe[name]` describes.

        Raises:
            UserError: for a recipe of one modality, unknown triplets, or L_dis without a classifier.
        """
        config = recipe[name]
        check_both_modalities(recipe, "triplets need")
        choose(config.triplets, TRIPLETS, f"config.{name}.triplets")
        weights = weight_schedules(config.weights)
        if "L_dis" in weights and not config.classifier:
            raise UserError(
                "L_dis needs a classifier: name an embedding_classifier stage of the recipe, or set its weight to 0."
            )
        dtype = jnp.dtype(recipe.dtype)
        x = embedding_spec(recipe, config.reads)
        E = construct(EmbeddingEncoder, config.networks.E, f"config.{name}.networks.E", dtype=dtype)
        D = construct(EmbeddingDecoder, config.networks.D, f"config.{name}.networks.D", dim=x.shape[-1], dtype=dtype)
        networks = {f"E_{modality}": Network(E, (x,)) for modality in MODALITIES}
        _, codes = networks["E_rgb"].shapes()
        networks |= {f"D_{modality}": Network(D, codes) for modality in MODALITIES}
        classifier = None
        if config.classifier:
            classifier = EmbeddingClassifier(classes, **recipe[config.classifier].networks.classifier, dtype=dtype)
        optimizers = Optimizers(config.optimizers, config.decay, tuple(networks))
        return cls(recipe, config, classes, networks, optimizers, weights, E, D, classifier)

    def init(self, key: Key, previous: dict[str, State]) -> State:
        """Makes fresh parameters, with the frozen classifier."""
        state = super().init(key, previous)
        if not self.classifier:
            return state
        params = {"params": previous[self.config.classifier].params["classifier"]}
        return dataclasses.replace(state, frozen={"classifier": params})

    def encode(
        self,
        params: PyTree,
        embedding: Float[Array, "identity 2 shot dim"],
        label: Int[Array, "identity"],
        key: Array,
    ) -> Triplets:
        """Encodes the batch, chooses triplets from the global batch, and keeps those of this device's anchors."""
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
        anchors = parallel.positions(identities)
        positive, negative = (place[anchors].reshape(-1) for place in chosen)
        X_2, m_2, s_2, _ = (x[positive] for x in everyone)
        X_3, m_3, s_3, y_3 = (x[negative] for x in everyone)
        return Triplets(rgb, X_2, X_3, m_rgb, s_rgb, m_2, s_2, m_3, s_3, y, y_3)

    def terms(self, params: PyTree, classifier: PyTree, x: Triplets) -> dict[str, Array]:
        """Computes every term that has a weight, by the paper's symbol.

        Args:
            params: the parameters of E_rgb, E_ir, D_rgb and D_ir.
            classifier: the frozen classifier's variables; None without one.
            x: what `encode` gives for the same parameters.
        """
        D_rgb, D_ir = (partial(call, self.D, params[f"D_{stream}"]) for stream in MODALITIES)
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

    def train_step(self, state: State, batch: DeviceBatch, key: Key) -> tuple[State, Metrics]:
        """Minimises L_total, the weighted sum of the terms."""

        def loss(params, batch_stats, batch, key):
            triplets = self.encode(params, batch["embedding"], batch["label"], key)
            terms = self.terms(params, state.frozen.get("classifier"), triplets)
            L_total = total(terms, self.weights, state.step)
            return L_total, (terms | {"L_total": L_total}, batch_stats)

        return descend(loss, state, self.optimizers, batch, jax.random.fold_in(key, state.step))

    def features(self, state: State, inputs: Array, modality: Int[Array, "n"]) -> Float[Array, "n dim"]:
        """Returns the component s (or m) of each embedding, from the encoder of its modality."""
        x, place = standardised(inputs), COMPONENTS.index(self.component)
        rgb, ir = (call(self.E, state.params[f"E_{stream}"], x)[place] for stream in MODALITIES)
        return jnp.where(modality[:, None] == 0, rgb, ir)

    @property
    def controls(self) -> dict[str, Stage]:
        """The identity-independent component m, which should not find anybody."""
        return {"m": dataclasses.replace(self, component="m")}
