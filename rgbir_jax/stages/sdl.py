"""Stage `sdl`: spectrum-disentangled representation learning (Kansal et al., TCSVT 2020).

Its symbols: x an embedding, u its part that tells the identity and not the spectrum, v its part that tells the spectrum
(RGB or IR) and not the identity. All are compared as unit vectors.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.lookup import choose, construct
from rgbir_jax.losses import identity, spectrum
from rgbir_jax.models.layers import unit
from rgbir_jax.models.resnet import ResNet50
from rgbir_jax.models.spectrum import SpectrumClassifier, SpectrumHead
from rgbir_jax.models.two_stream import Stream
from rgbir_jax.stages.pairing import check_both_modalities
from rgbir_jax.stages.resnet_start import check_resnet_start, start_resnets
from rgbir_jax.stages.streams import feature_map_of_streams, train_streams
from rgbir_jax.stages.views import flatten, views
from rgbir_jax.stages.weights import total, weight_schedules
from rgbir_jax.training import parallel
from rgbir_jax.training.descent import descend
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import DeviceBatch, FeatureMap, Images, Key, Metrics, Stage, image_spec
from rgbir_jax.training.state import Network, State, call, infer, variables

HEADS = ("x", "u", *(f"v_{modality}" for modality in MODALITIES))


class Parts(NamedTuple):
    """Embeddings of the n images of one device, after BatchNorm, in the order [identity, modality, shot].

    Attributes:
        x: of head x.
        u: of head u.
        v: of the head of each image's own spectrum; or, with `every_head`, of head v_rgb and of head v_ir.
    """

    x: Float[Array, "n dim"]
    u: Float[Array, "n dim"]
    v: tuple[Float[Array, "n dim"], ...]


@dataclass(frozen=True, eq=False)
class SDL(Stage):
    """A stream for each modality, with heads for x, u and v.

    Attributes:
        stream: the module of both streams.
        head: the module of all heads.
        classifier: the module of the classifiers of x and of u.
        compares: the embedding that retrieval compares; "v" is that of each image's own spectrum.
    """

    read_late = ("every_head",)

    stream: Stream
    head: SpectrumHead
    classifier: SpectrumClassifier
    compares: Literal["u", "x", "v"] = "u"

    @classmethod
    def build(cls, recipe: ConfigDict, name: str, classes: int) -> "SDL":
        """Makes the stage that `recipe[name]` describes.

        Raises:
            UserError: for a recipe of one modality, an unknown penalty, or a stage to start from whose ResNet is
                another one.
        """
        config = recipe[name]
        check_both_modalities(recipe, "two streams need")
        check_resnet_start(recipe, name, {"stream": config.networks.stream})
        choose(config.penalty, spectrum.PENALTIES, f"config.{name}.penalty")
        key, dtype = f"config.{name}.networks", jnp.dtype(recipe.dtype)
        compute = {"dtype": dtype, "axis_name": parallel.AXIS}
        stream = Stream(construct(ResNet50, config.networks.stream, f"{key}.stream", **compute))
        head = construct(SpectrumHead, config.networks.head, f"{key}.head", **compute)
        classifier = SpectrumClassifier(classes, dtype)

        networks = {modality: Network(stream, (image_spec(recipe),), {"train": False}) for modality in MODALITIES}
        _, pooled = networks["rgb"].shapes()
        networks |= {name: Network(head, (pooled,), {"train": False}) for name in HEADS}
        _, embedding = networks["u"].shapes()
        networks |= {f"classifier_{name}": Network(classifier, (embedding,)) for name in ("x", "u")}
        optimizers = Optimizers(config.optimizers, config.decay, tuple(networks))
        weights = weight_schedules(config.weights)
        return cls(recipe, config, classes, networks, optimizers, weights, stream, head, classifier)

    def init(self, key: Key, previous: dict[str, State]) -> State:
        """Makes fresh parameters, or takes the ResNet from E_a of the earlier stage that `start_from` names."""
        return start_resnets(self, super().init(key, previous), previous)

    def forward(
        self, params: PyTree, batch_stats: PyTree, x: Float[Array, "identity 2 shot height width 3"]
    ) -> tuple[Parts, PyTree]:
        """Applies streams and heads as in training. Returns the embeddings and the new running statistics."""
        pooled, statistics = train_streams(self.stream, params, batch_stats, x)

        def embed(name: str, pooled: Array) -> Array:
            embedding, updated = self.head.apply(
                variables(params, batch_stats, name), flatten(pooled), train=True, mutable=["batch_stats"]
            )
            statistics[name] = updated["batch_stats"]
            return embedding.reshape(*pooled.shape[:3], -1)

        if self.config.every_head:
            v = [embed(f"v_{name}", pooled) for name in MODALITIES]
        else:
            v = [jnp.concatenate([embed(f"v_{name}", pooled[:, [i]]) for i, name in enumerate(MODALITIES)], axis=1)]
        return Parts(flatten(embed("x", pooled)), flatten(embed("u", pooled)), tuple(map(flatten, v))), statistics

    def terms(self, params: PyTree, parts: Parts, label: Int[Array, "n"]) -> tuple[dict[str, Array], Array]:
        """Computes every term that has a weight.

        L_disp does not move the classifier of u, which would then name nobody from u either.

        Returns:
            The terms by symbol, and the logits of u.
        """
        penalty, terms = self.config.penalty, {}

        def classify(name: str, embedding: Array, constant: bool = False) -> Array:
            own = params[f"classifier_{name}"]
            return call(self.classifier, stop_gradient(own) if constant else own, embedding)

        # Of the whole batch: the norm of a batch is not the mean of the norms of its parts.
        everyone = Parts(*jax.tree.map(lambda part: parallel.gather(unit(part)), parts))
        logits = classify("u", parts.u)
        if "L_id_x" in self.weights:
            terms["L_id_x"] = identity.cross_entropy(classify("x", parts.x), label)
        if "L_id_u" in self.weights:
            terms["L_id_u"] = identity.cross_entropy(logits, label)
        if "L_disp" in self.weights:
            judged = [parallel.gather(classify("u", v, constant=True)) for v in parts.v]
            terms["L_disp"] = sum(spectrum.dispelling(logits, penalty) for logits in judged)
        if "L_dis" in self.weights:
            x, u = everyone.x, everyone.u
            terms["L_dis"] = sum(spectrum.disentanglement(x, u, v, penalty) for v in everyone.v)
        return terms, logits

    def train_step(self, state: State, batch: DeviceBatch, key: Key) -> tuple[State, Metrics]:
        """Minimises L_total, the weighted sum of the terms."""
        augment_key, key = jax.random.split(jax.random.fold_in(key, state.step))
        view = views(augment_key, batch["image"], batch["label"], self.recipe.augment)

        def loss(params, batch_stats, view, key):
            del key  # nothing is drawn
            parts, batch_stats = self.forward(params, batch_stats, view.erased)
            label = flatten(view.label)
            terms, logits = self.terms(params, parts, label)
            L_total = total(terms, self.weights, state.step)
            metrics = terms | {"L_total": L_total, "accuracy": identity.accuracy(logits, label)}
            return L_total, (metrics, batch_stats)

        return descend(loss, state, self.optimizers, view, key, self.recipe.batch.parts)

    def feature_map(self, state: State, inputs: Images, modality: Int[Array, "n"]) -> FeatureMap:
        """Returns the last feature map of each image's stream."""
        return feature_map_of_streams(self.stream, state, inputs, modality)

    def features_of_map(
        self, state: State, feature_map: FeatureMap, modality: Int[Array, "n"]
    ) -> Float[Array, "n dim"]:
        """Computes u, or the embedding that `compares` names."""
        pooled = call(self.stream, {}, feature_map, method="pooled")
        if self.compares != "v":
            return infer(self.head, state.variables(self.compares), pooled)
        rgb, ir = (infer(self.head, state.variables(f"v_{name}"), pooled) for name in MODALITIES)
        return jnp.where(modality[:, None] == 0, rgb, ir)

    @property
    def unused_after_training(self) -> tuple[str, ...]:
        """The classifiers."""
        return ("classifier_x", "classifier_u")

    @property
    def controls(self) -> dict[str, Stage]:
        """The undivided x, and v, which should not find anybody."""
        return {part: dataclasses.replace(self, compares=part) for part in ("x", "v")}
