"""Stage `cmgan`: features that do not show their modality (cmGAN, Dai et al., IJCAI 2018).

A discriminator D learns to tell the modality of a feature, and the ResNet E that gives the features learns that it
cannot: the gradient of D's loss is reversed between them. No loss of identities is reversed with it.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from rgbir_jax.lookup import construct
from rgbir_jax.losses import identity
from rgbir_jax.models.embedding import MLP
from rgbir_jax.models.resnet import ResNet50
from rgbir_jax.models.two_stream import Stream
from rgbir_jax.stages.pairing import check_both_modalities, check_identities
from rgbir_jax.stages.resnet_start import check_resnet_start, start_resnets
from rgbir_jax.stages.triplets import across_modalities
from rgbir_jax.stages.views import flatten, views
from rgbir_jax.stages.weights import total, weight_schedules
from rgbir_jax.training import parallel
from rgbir_jax.training.descent import descend
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import DeviceBatch, FeatureMap, Images, Key, Metrics, Stage, image_spec
from rgbir_jax.training.state import Network, State, call, infer, variables


@dataclass(frozen=True, eq=False)
class CmGAN(Stage):
    """One ResNet for both modalities, an identity classifier and a modality discriminator on its pooled features.

    Attributes:
        E: the ResNet with average pooling.
        head: the identity classifier.
        discriminator: D, with a logit for RGB and one for IR.
    """

    read_late = ("margin",)

    E: Stream
    head: MLP
    discriminator: MLP

    @classmethod
    def build(cls, recipe: ConfigDict, name: str, classes: int) -> "CmGAN":
        """Makes the stage that `recipe[name]` describes.

        Raises:
            UserError: for a recipe of one modality, parts of a batch that have a single identity, or a stage to start
                from whose ResNet is another one.
        """
        config = recipe[name]
        check_both_modalities(recipe, "a discriminator of modalities needs")
        check_identities(recipe.batch)
        check_resnet_start(recipe, name, {"E": config.networks.E})
        dtype, own = jnp.dtype(recipe.dtype), config.networks
        E = Stream(construct(ResNet50, own.E, f"config.{name}.networks.E", dtype=dtype, axis_name=parallel.AXIS))
        head = MLP((*own.head.hidden, classes), False, dtype)
        discriminator = MLP((*own.D.hidden, 2), False, dtype)
        networks = {"E": Network(E, (image_spec(recipe),), {"train": False})}
        _, pooled = networks["E"].shapes()
        networks |= {"head": Network(head, (pooled,)), "D": Network(discriminator, (pooled,))}
        optimizers = Optimizers(config.optimizers, config.decay, tuple(networks))
        weights = weight_schedules(config.weights)
        return cls(recipe, config, classes, networks, optimizers, weights, E, head, discriminator)

    def init(self, key: Key, previous: dict[str, State]) -> State:
        """Makes fresh parameters, or takes the ResNet from E_a of the earlier stage that `start_from` names."""
        return start_resnets(self, super().init(key, previous), previous)

    def terms(
        self, params: PyTree, x: Float[Array, "identity 2 shot dim"], label: Int[Array, "identity 2 shot"]
    ) -> tuple[dict[str, Array], Array]:
        """Computes every term that has a weight.

        L_D is D's loss on constant features. L_adv is −L_D for features that learn against a constant D.

        Returns:
            The terms by symbol, and the logits of the identity classifier.
        """

        def modality_loss(params: PyTree, x: Array) -> Array:
            """Computes the cross-entropy of the modality, the mean over RGB images plus the mean over IR images."""
            modality = jnp.broadcast_to(jnp.arange(2)[:, None], label.shape)
            return 2 * identity.cross_entropy(call(self.discriminator, params, flatten(x)), flatten(modality))

        logits, terms = call(self.head, params["head"], flatten(x)), {}
        if "L_id" in self.weights:
            terms["L_id"] = identity.cross_entropy(logits, flatten(label))
        if "L_triplet" in self.weights:
            terms["L_triplet"] = across_modalities(x, label, self.config.margin)
        if "L_D" in self.weights:
            terms["L_D"] = modality_loss(params["D"], stop_gradient(x))
        if "L_adv" in self.weights:
            terms["L_adv"] = -modality_loss(stop_gradient(params["D"]), x)
        return terms, logits

    def train_step(self, state: State, batch: DeviceBatch, key: Key) -> tuple[State, Metrics]:
        """Minimises L_total, the weighted sum of the terms."""
        key = jax.random.fold_in(key, state.step)
        view = views(key, batch["image"], batch["label"], self.recipe.augment)

        def loss(params, batch_stats, view, key):
            del key  # nothing is drawn
            pooled, updated = self.E.apply(
                variables(params, batch_stats, "E"), flatten(view.erased), train=True, mutable=["batch_stats"]
            )
            terms, logits = self.terms(params, pooled.reshape(*view.label.shape, -1), view.label)
            L_total = total(terms, self.weights, state.step)
            metrics = terms | {"L_total": L_total, "accuracy": identity.accuracy(logits, flatten(view.label))}
            return L_total, (metrics, batch_stats | {"E": updated["batch_stats"]})

        return descend(loss, state, self.optimizers, view, key, self.recipe.batch.parts)

    def feature_map(self, state: State, inputs: Images, modality: Int[Array, "n"]) -> FeatureMap:
        """Returns E's last feature map, of one network for both modalities."""
        del modality
        return infer(self.E, state.variables("E"), inputs, "feature_map")

    def features_of_map(
        self, state: State, feature_map: FeatureMap, modality: Int[Array, "n"]
    ) -> Float[Array, "n dim"]:
        """Computes the pooled features."""
        del state, modality
        return call(self.E, {}, feature_map, method="pooled")

    @property
    def unused_after_training(self) -> tuple[str, ...]:
        """The identity classifier and D."""
        return ("head", "D")
