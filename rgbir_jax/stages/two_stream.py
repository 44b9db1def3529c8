"""Stage `two_stream`: M_bdtr, a dual-path network with the top-ranking loss (section 4.1).

The embedding-space system takes its embeddings apart. With weight 0 for the ranking loss it is the plain two-stream
baseline.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.lookup import construct
from rgbir_jax.losses import identity, ranking
from rgbir_jax.models.identity_head import IdentityHead
from rgbir_jax.models.resnet import ResNet50
from rgbir_jax.models.two_stream import Stream
from rgbir_jax.stages.pairing import check_both_modalities, check_identities
from rgbir_jax.stages.resnet_start import check_resnet_start, start_resnets
from rgbir_jax.stages.streams import feature_map_of_streams, train_streams
from rgbir_jax.stages.views import views
from rgbir_jax.stages.weights import total, weight_schedules
from rgbir_jax.training import parallel
from rgbir_jax.training.descent import descend
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import DeviceBatch, FeatureMap, Images, Key, Metrics, Stage, image_spec
from rgbir_jax.training.state import Network, State, call, infer, variables


@dataclass(frozen=True, eq=False)
class TwoStream(Stage):
    """A stream for each modality and a shared head, with identification loss and top-ranking loss.

    Attributes:
        stream: the module of both streams.
        head: the identity head on the pooled features of either.
    """

    read_late = ("ranking.m1", "ranking.m2", "ranking.intra")

    stream: Stream
    head: IdentityHead

    @classmethod
    def build(cls, recipe: ConfigDict, name: str, classes: int) -> "TwoStream":
        """Makes the stage that `recipe[name]` describes.

        Raises:
            UserError: for a recipe of one modality, parts of a batch that have a single identity, or a stage to start
                from whose ResNet is another one.
        """
        config = recipe[name]
        check_identities(recipe.batch)
        check_both_modalities(recipe, "a two-stream network needs")
        check_resnet_start(recipe, name, {"stream": config.networks.stream})
        key, compute = f"config.{name}.networks", {"dtype": jnp.dtype(recipe.dtype), "axis_name": parallel.AXIS}
        stream = Stream(construct(ResNet50, config.networks.stream, f"{key}.stream", **compute))
        head = construct(IdentityHead, config.networks.head, f"{key}.head", classes=classes, **compute)

        networks = {modality: Network(stream, (image_spec(recipe),), {"train": False}) for modality in MODALITIES}
        _, pooled = networks["rgb"].shapes()
        networks["head"] = Network(head, (pooled,), {"train": False})
        optimizers = Optimizers(config.optimizers, config.decay, tuple(networks))
        weights = weight_schedules(config.weights, config.get("ramp"))
        return cls(recipe, config, classes, networks, optimizers, weights, stream, head)

    def init(self, key: Key, previous: dict[str, State]) -> State:
        """Makes fresh parameters, or takes the ResNet from E_a of the earlier stage that `start_from` names."""
        return start_resnets(self, super().init(key, previous), previous)

    def forward(
        self, params: PyTree, batch_stats: PyTree, x: Float[Array, "identity 2 shot height width 3"], key: Array
    ) -> tuple[Float[Array, "identity 2 shot dim"], Float[Array, "identity 2 shot classes"], PyTree]:
        """Applies the networks as in training: each modality's stream, then the head, with this batch's statistics.

        Args:
            params: the parameters of the streams and the head.
            batch_stats: their running statistics.
            x: images.
            key: the key of dropout.

        Returns:
            Embeddings, logits, and the new running statistics.
        """
        both, statistics = train_streams(self.stream, params, batch_stats, x)
        outputs, updated = self.head.apply(
            variables(params, batch_stats, "head"),
            both.reshape(-1, both.shape[-1]),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        if "batch_stats" in updated:  # a head without a bottleneck has no BatchNorm
            statistics["head"] = updated["batch_stats"]
        embedding, logits = (y.reshape(*both.shape[:3], -1) for y in outputs)
        return embedding, logits, statistics

    def terms(
        self,
        embedding: Float[Array, "identity 2 shot dim"],
        logits: Float[Array, "identity 2 shot classes"],
        label: Int[Array, "identity 2 shot"],
    ) -> dict[str, Array]:
        """Computes L_id of this device's images and L_rank of the global batch, which may have the hardest negative."""
        terms = {}
        if "L_id" in self.weights:
            terms["L_id"] = identity.cross_entropy(logits.reshape(-1, logits.shape[-1]), label.reshape(-1))
        if "L_rank" in self.weights:
            everyone = parallel.gather(embedding)
            terms["L_rank"] = ranking.bdtr(everyone[:, 0], everyone[:, 1], **self.config.ranking)
        return terms

    def train_step(self, state: State, batch: DeviceBatch, key: Key) -> tuple[State, Metrics]:
        """Minimises L_total, the weighted sum of the identity loss and the top-ranking loss."""
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        view = views(augment_key, batch["image"], batch["label"], self.recipe.augment)

        def loss(params, batch_stats, view, key):
            embedding, logits, batch_stats = self.forward(params, batch_stats, view.erased, key)
            terms = self.terms(embedding, logits, view.label)
            L_total = total(terms, self.weights, state.step)
            accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == view.label)
            return L_total, (terms | {"L_total": L_total, "accuracy": accuracy}, batch_stats)

        return descend(loss, state, self.optimizers, view, dropout_key, self.recipe.batch.parts)

    def feature_map(self, state: State, inputs: Images, modality: Int[Array, "n"]) -> FeatureMap:
        """Returns the last feature map of each image's stream."""
        return feature_map_of_streams(self.stream, state, inputs, modality)

    def features_of_map(
        self, state: State, feature_map: FeatureMap, modality: Int[Array, "n"]
    ) -> Float[Array, "n dim"]:
        """Computes the embedding after BatchNorm, with the head that both streams share."""
        del modality
        pooled = call(self.stream, {}, feature_map, method="pooled")
        embedding, _ = infer(self.head, state.variables("head"), pooled)
        return embedding
