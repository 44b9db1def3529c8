"""Stage `two_stem`: AGW and its baseline, CAJ and RLE. A stem for each modality, one body, and BN necks.

Images of both modalities count alike in the losses: only equal labels make a pair positive.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.errors import UserError
from rgbir_jax.lookup import choose, construct, either
from rgbir_jax.losses import identity, ranking
from rgbir_jax.models.bn_neck import BNNeck
from rgbir_jax.models.layers import unit
from rgbir_jax.models.resnet import STAGES, STEM, ResNet50
from rgbir_jax.models.two_stem import POOLS, Body, Stem
from rgbir_jax.stages.channel_views import CHANGES, ChannelViews, channel_views
from rgbir_jax.stages.pairing import check_both_modalities, check_identities
from rgbir_jax.stages.resnet_start import check_resnet_start, start_resnets
from rgbir_jax.stages.weights import total, weight_schedules
from rgbir_jax.training import parallel
from rgbir_jax.training.descent import descend
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import DeviceBatch, FeatureMap, Images, Key, Metrics, Stage, image_spec
from rgbir_jax.training.state import Network, State, call, infer, variables

RANKINGS = ("L_tri", "L_wrt", "L_esd")  # ranking losses: batch-hard triplets, AGW's and CAJ's
KINDS = ("neck", "pooled")  # of features that retrieval can compare: after a neck's BatchNorm, or before it
OF_PARTS = "_part"  # ends the symbol of a term of body parts


@dataclass(frozen=True, eq=False)
class TwoStem(Stage):
    """A stem for each modality, a shared body, and BN necks with identification loss and ranking losses.

    Attributes:
        stem: the module of both stems.
        body: the module of the body.
        necks: the BN necks by network name: one for each vector that the body gives, or one that all of them share.
        compared: the weight of each kind of features in the similarity that retrieval compares.
    """

    read_late = ("margin", "epsilon", *(f"channels.{change}" for change in CHANGES))

    stem: Stem
    body: Any  # a `Body`, or a module with its methods
    necks: dict[str, BNNeck]
    compared: dict[str, float]

    @classmethod
    def build(cls, recipe: ConfigDict, name: str, classes: int) -> "TwoStem":
        """Makes the stage that `recipe[name]` describes.

        Raises:
            UserError: for a recipe of one modality, parts of a batch that have a single identity, a term, pooling or
                kind of features that is unknown, terms of body parts without any, or a stage to start from whose
                ResNet is another one.
        """
        config, key = recipe[name], f"config.{name}"
        check_identities(recipe.batch)
        check_both_modalities(recipe, "a two-stem network needs")
        check_resnet_start(recipe, name, {"resnet": config.networks.resnet}, ("width", "blocks", "last_stride"))
        compute = {"dtype": jnp.dtype(recipe.dtype), "axis_name": parallel.AXIS}
        resnet = config.networks.resnet, f"{key}.networks.resnet"
        stem = Stem(construct(ResNet50, *resnet, stages=(STEM,), **compute))
        body = cls.make_body(config, name, construct(ResNet50, *resnet, stages=STAGES[1:], **compute))

        networks = {modality: Network(stem, (image_spec(recipe),), {"train": False}) for modality in MODALITIES}
        _, low = networks["rgb"].shapes()
        networks["body"] = Network(body, (low,), {"train": False})
        _, pooled = networks["body"].shapes()
        necks = {neck: BNNeck(classes, **compute) for neck in cls.neck_names(body.vectors)}
        vector = jax.ShapeDtypeStruct((1, pooled.shape[-1]), pooled.dtype)
        networks |= {neck: Network(module, (vector,), {"train": False}) for neck, module in necks.items()}
        optimizers = Optimizers(config.optimizers, config.decay, tuple(networks))
        weights = weight_schedules(config.weights, config.get("ramp"))
        compared = _compared(config.similarity, f"{key}.similarity")
        stage = cls(recipe, config, classes, networks, optimizers, weights, stem, body, necks, compared)
        stage.check_terms(key)
        return stage

    @classmethod
    def make_body(cls, config: ConfigDict, name: str, trunk: ResNet50) -> Any:
        """Makes the body from the last four stages of a ResNet.

        Args:
            config: the stage's section.
            name: the stage's name.
            trunk: the stages.
        """
        return Body(trunk, choose(config.networks.pool, POOLS, f"config.{name}.networks.pool"))

    @classmethod
    def neck_names(cls, vectors: int) -> list[str]:
        """Names a neck for each vector of the body."""
        return ["neck", *(f"neck_{part}" for part in range(1, vectors))]

    def check_terms(self, key: str) -> None:
        """Refuses weights of terms that the stage has not.

        Args:
            key: the config key of the stage.

        Raises:
            UserError: for such a weight.
        """
        known = self.known_terms()
        for term in self.config.weights:
            choose(term, known, f"{key}.weights: the term")
        of_parts = [term for term in self.weights if term.endswith(OF_PARTS)]
        if of_parts and len(self.necks) == 1:
            raise UserError(
                f'{key}.weights.{of_parts[0]} is a term of body parts; set {key}.networks.pool to "parts", or this '
                f"weight to 0."
            )

    @classmethod
    def known_terms(cls) -> list[str]:
        """Returns the symbols of all terms."""
        return [term + suffix for term in ("L_id", *RANKINGS) for suffix in ("", OF_PARTS)]

    def init(self, key: Key, previous: dict[str, State]) -> State:
        """Makes fresh parameters, or takes the ResNet from E_a of the earlier stage that `start_from` names.

        Both stems then start from its stem. Non-local blocks and necks are fresh.
        """
        return start_resnets(self, super().init(key, previous), previous)

    def by_neck(self, vectors: Float[Array, "*images vector dim"]) -> dict[str, Float[Array, "rows dim"]]:
        """Returns the vectors that each neck sees as rows, image by image."""
        return {neck: x.reshape(-1, x.shape[-1]) for neck, x in self._grouped(vectors).items()}

    def _grouped(self, vectors: Float[Array, "*images vector dim"]) -> dict[str, Float[Array, "*images per_neck dim"]]:
        """Returns the vectors that each neck sees."""
        each = vectors.shape[-2] // len(self.necks)
        return {neck: vectors[..., i * each : (i + 1) * each, :] for i, neck in enumerate(self.necks)}

    def forward(
        self, params: PyTree, batch_stats: PyTree, view: ChannelViews, key: Array
    ) -> tuple[Float[Array, "identity image vector dim"], dict[str, Float[Array, "rows classes"]], PyTree]:
        """Applies the networks as in training: each modality's stem, then the body and the necks on all images.

        Args:
            params: the parameters.
            batch_stats: the running statistics.
            view: the images.
            key: the key of dropout.

        Returns:
            Pooled features, RGB first; logits by neck, in the order of `by_neck`; and the new running statistics.
        """
        statistics = dict(batch_stats)

        def train(network: str, module: Any, x: Array) -> Any:
            outputs, updated = module.apply(
                variables(params, batch_stats, network), x, train=True, mutable=["batch_stats"], rngs={"dropout": key}
            )
            statistics[network] = updated["batch_stats"]
            return outputs

        maps = []
        for modality, images in zip(MODALITIES, (view.rgb, view.ir), strict=True):
            low = train(modality, self.stem, images.reshape(-1, *images.shape[2:]))
            maps.append(low.reshape(*images.shape[:2], *low.shape[1:]))
        both = jnp.concatenate(maps, axis=1)
        pooled = train("body", self.body, both.reshape(-1, *both.shape[2:]))
        pooled = pooled.reshape(*both.shape[:2], *pooled.shape[1:])
        logits = {neck: train(neck, self.necks[neck], rows)[1] for neck, rows in self.by_neck(pooled).items()}
        return pooled, logits, statistics

    def terms(
        self,
        pooled: Float[Array, "identity image vector dim"],
        logits: dict[str, Float[Array, "rows classes"]],
        label: Int[Array, "identity"],
    ) -> dict[str, Array]:
        """Computes each term of this device's images. Positives and negatives are found in the global batch.

        A term of the first neck has its symbol; the mean over the other necks has the symbol with "_part".

        Args:
            pooled: features before the necks.
            logits: logits by neck.
            label: the identities.
        """
        rows = self.by_neck(pooled)
        y = jnp.repeat(label, rows["neck"].shape[0] // len(label))
        y_everyone = parallel.gather(y)
        first, *others = self.necks
        losses = {"L_id": lambda neck: identity.cross_entropy(logits[neck], y)}
        for term, loss in self.rankings().items():
            losses[term] = lambda neck, loss=loss: jnp.mean(
                loss(rows[neck], y, parallel.gather(rows[neck]), y_everyone)
            )
        terms = {term: loss(first) for term, loss in losses.items() if term in self.weights}
        for term, loss in losses.items():
            if term + OF_PARTS in self.weights:
                terms[term + OF_PARTS] = jnp.mean(jnp.stack([loss(neck) for neck in others]))
        return terms

    def rankings(self) -> dict[str, Callable[..., Float[Array, "n"]]]:
        """Returns each ranking loss by its symbol: (x, y, others, y_others) -> one value per anchor."""
        losses = (
            partial(ranking.batch_hard_triplet, margin=self.config.margin),
            partial(ranking.weighted_regularised, epsilon=self.config.epsilon),
            partial(ranking.squared_difference, epsilon=self.config.epsilon),
        )
        return dict(zip(RANKINGS, losses, strict=True))

    def train_step(self, state: State, batch: DeviceBatch, key: Key) -> tuple[State, Metrics]:
        """Minimises L_total, the weighted sum of the terms."""
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        view = channel_views(augment_key, batch["image"], batch["label"], self.recipe.augment, self.config.channels)

        def loss(params, batch_stats, view, key):
            pooled, logits, batch_stats = self.forward(params, batch_stats, view, key)
            terms = self.terms(pooled, logits, view.label)
            L_total = total(terms, self.weights, state.step)
            y = jnp.repeat(view.label, len(logits["neck"]) // len(view.label))
            accuracy = identity.accuracy(logits["neck"], y)
            return L_total, (terms | {"L_total": L_total, "accuracy": accuracy}, batch_stats)

        return descend(loss, state, self.optimizers, view, dropout_key, self.recipe.batch.parts)

    def feature_map(self, state: State, inputs: Images, modality: Int[Array, "n"]) -> FeatureMap:
        """Returns the body's last feature map. Both stems run on every image; a stem is 3% of a ResNet's work."""
        rgb, ir = (infer(self.stem, state.variables(stem), inputs) for stem in MODALITIES)
        low = jnp.where(modality[:, None, None, None] == 0, rgb, ir)
        return infer(self.body, state.variables("body"), low, "feature_map")

    def features_of_map(
        self, state: State, feature_map: FeatureMap, modality: Int[Array, "n"]
    ) -> Float[Array, "n dim"]:
        """Computes the features of each kind that is compared, one after the other.

        Images and vectors keep axes of their own: an exported file has any number of images.
        """
        del modality
        pooled = call(self.body, {}, feature_map, method="pooled")
        vectors = {"pooled": self._grouped(pooled)}
        if "neck" in self.compared:
            outputs = {neck: infer(self.necks[neck], state.variables(neck), x) for neck, x in vectors["pooled"].items()}
            vectors["neck"] = {neck: features for neck, (features, _) in outputs.items()}
        # [image, vector of a neck, neck · dim]: the vectors that different necks see are one feature.
        kinds = [jnp.concatenate(list(vectors[kind].values()), axis=-1) for kind in self.compared]
        blocks = jnp.concatenate(kinds, axis=1)
        # Not reshaped: of a single vector, jax2onnx takes this and the sum of both views for each other's inverse.
        return jnp.concatenate([blocks[:, vector] for vector in range(blocks.shape[1])], axis=-1)

    def normalise(self, features: Float[Array, "n dim"]) -> Float[Array, "n dim"]:
        """Scales features to unit vectors, those of each kind first, and then by the square root of its weight."""
        weights = np.repeat(list(self.compared.values()), self.body.vectors // len(self.necks))
        blocks = unit(features.reshape(features.shape[0], len(weights), features.shape[1] // len(weights)))
        return unit((blocks * np.sqrt(weights)[:, None].astype(features.dtype)).reshape(features.shape))

    @property
    def controls(self) -> dict[str, Stage]:
        """Each kind of features by itself, if several are compared."""
        if len(self.compared) == 1:
            return {}
        return {kind: dataclasses.replace(self, compared={kind: 1.0}) for kind in self.compared}

    @property
    def unused_after_training(self) -> tuple[str, ...]:
        """The classifiers of the necks."""
        return tuple(f"{neck}/classifier" for neck in self.necks)


def _compared(similarity: ConfigDict, key: str) -> dict[str, float]:
    for kind in similarity:
        choose(kind, KINDS, f"{key}: the kind of features")
    compared = {kind: weight for kind, weight in similarity.items() if weight > 0}
    if not compared:
        raise UserError(f"{key} compares nothing; give {either(KINDS)} a weight above 0.")
    return compared
