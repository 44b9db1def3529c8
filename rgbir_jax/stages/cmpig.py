"""Stage `cmpig`: the second of cmPIG's two stages (Wang et al., AAAI 2020), which recognises people and draws twins.

The recogniser is E_sl, E_il and a BN neck. It sees grey tones. E_sl also gives the content that twins are drawn with
(set-level alignment), and an image and its twin should be recognised as the same person (instance-level alignment).
The symbols are those of `rgbir_jax.stages.cmpig_generation`.
"""

import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from rgbir_jax.errors import UserError
from rgbir_jax.lookup import construct
from rgbir_jax.losses import identity
from rgbir_jax.models.bn_neck import BNNeck
from rgbir_jax.stages.cmpig_generation import (
    PIECES,
    Both,
    CmPIGGeneration,
    Generated,
    check_drawn,
    generation_networks,
    modules_of,
    piece_networks,
)
from rgbir_jax.stages.cmpig_images import grey, large
from rgbir_jax.stages.pairing import check_identities
from rgbir_jax.stages.triplets import across_modalities
from rgbir_jax.stages.views import Views, flatten
from rgbir_jax.stages.weights import weight_schedules
from rgbir_jax.training import parallel
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import FeatureMap, Images, Key, Stage
from rgbir_jax.training.state import Network, State, call, infer, variables


@dataclass(frozen=True, eq=False)
class CmPIG(CmPIGGeneration):
    """The networks of the first stage, with a recogniser.

    Attributes:
        neck: the BN neck.
    """

    read_late = ("margin", "smoothing")

    neck: BNNeck

    @classmethod
    def build(cls, recipe: ConfigDict, name: str, classes: int) -> "CmPIG":
        """Makes the stage that `recipe[name]` describes. Its networks, but for the neck, are those that it starts from.

        Raises:
            UserError: if it starts from another stage than one of cmPIG's generation, for batches without negatives,
                or for what `check_drawn` refuses.
        """
        config = recipe[name]
        if not config.start_from or "drawn" not in recipe[config.start_from]:
            raise UserError(
                f"{name} needs the networks of a stage cmpig_generation; name it in config.{name}.start_from."
            )
        check_drawn(recipe, config.start_from)
        check_identities(recipe.batch)
        modules = modules_of(recipe, config.start_from)
        compute = {"dtype": jnp.dtype(recipe.dtype), "axis_name": parallel.AXIS}
        neck = construct(BNNeck, config.networks.neck, f"config.{name}.networks.neck", classes=classes, **compute)
        networks = piece_networks(recipe, modules[0]) | generation_networks(recipe, *modules)
        networks["neck"] = Network(neck, (networks["E_il"].shapes()[1],), {"train": False})
        optimizers = Optimizers(config.optimizers, config.decay, tuple(networks))
        return cls(recipe, config, classes, networks, optimizers, weight_schedules(config.weights), *modules, neck)

    @property
    def frozen(self) -> dict[str, Network]:
        """Nothing: the whole ResNet is trained."""
        return {}

    @property
    def drawn(self) -> ConfigDict:
        """How many identities and shots are drawn, as in the first stage."""
        return self.recipe[self.config.start_from].drawn

    def init(self, key: Key, previous: dict[str, State]) -> State:
        """Takes the networks of the first stage, with a fresh neck and fresh optimisers."""
        state, start = Stage.init(self, key, previous), previous[self.config.start_from]
        params = state.params | start.params | {piece: start.frozen[piece]["params"] for piece in PIECES}
        batch_stats = state.batch_stats | {piece: start.frozen[piece]["batch_stats"] for piece in PIECES}
        return dataclasses.replace(
            state, params=params, batch_stats=batch_stats, opt_state=self.optimizers.init(params)
        )

    def content(
        self, params: PyTree, state: State, x: Float[Array, "n h w 3"], *, train: bool = True
    ) -> Float[Array, "n H W channels"]:
        """Computes the content of images in −1..1. In training their own statistics count, and are not kept."""
        own, seen = variables(params, state.batch_stats, "E_sl"), grey(large(x))
        if not train:
            return infer(self.pieces["E_sl"], own, seen, "feature_map")
        content, _ = self.pieces["E_sl"].apply(own, seen, train=True, mutable=["batch_stats"], method="feature_map")
        return content

    def recognise(
        self, params: PyTree, batch_stats: PyTree, content: Float[Array, "n H W channels"]
    ) -> tuple[Float[Array, "n dim"], Float[Array, "n classes"], PyTree]:
        """Applies E_il and the neck as in training. Returns pooled features, logits and their running statistics."""
        pooled, E_il = self.pieces["E_il"].apply(
            variables(params, batch_stats, "E_il"), content, train=True, mutable=["batch_stats"]
        )
        (_, logits), neck = self.neck.apply(
            variables(params, batch_stats, "neck"), pooled, train=True, mutable=["batch_stats"]
        )
        return pooled, logits, {"E_il": E_il["batch_stats"], "neck": neck["batch_stats"]}

    def terms(
        self, params: PyTree, params_D: PyTree, state: State, x: Both, made: Generated, view: Views
    ) -> tuple[dict[str, Array], dict[str, Array], PyTree]:
        """Adds to the terms of generation those of recognition; only real images of `view` move running statistics."""
        content, E_sl = self.pieces["E_sl"].apply(
            variables(params, state.batch_stats, "E_sl"),
            grey(flatten(view.erased)),
            train=True,
            mutable=["batch_stats"],
            method="feature_map",
        )
        pooled, logits, statistics = self.recognise(params, state.batch_stats, content)
        terms, y = self.generation_terms(params, params_D, state, x, made), flatten(view.label)
        if "L_cls" in self.weights:
            terms["L_cls"] = identity.smooth_cross_entropy(logits, y, self.config.smoothing)
        if "L_triplet" in self.weights:
            pooled = pooled.reshape(*view.label.shape, -1)
            terms["L_triplet"] = across_modalities(pooled, view.label, self.config.margin)
        if "L_align" in self.weights:
            terms["L_align"] = self.align_term(params, state, x, made.twin)
        statistics |= {"E_sl": E_sl["batch_stats"]}
        return terms, {"accuracy": identity.accuracy(logits, y)}, state.batch_stats | statistics

    def align_term(self, params: PyTree, state: State, x: Both, twin: Both) -> Array:
        """Computes L_align, the sum over modalities of KL(p ‖ q) + KL(q ‖ p).

        p is the identity distribution of a real image, held constant, q that of its twin, an image that is constant.
        """

        def logits(x: Both) -> Array:
            return self.recognise(params, state.batch_stats, self.content(params, state, jnp.concatenate(x)))[1]

        f_r, f_i = stop_gradient(twin)
        return 2 * identity.symmetric_kl(stop_gradient(logits(x)), logits((f_i, f_r)))  # the mean over both, twice

    # ---------------------------------------------------------------- what the trained system gives

    def feature_map(self, state: State, inputs: Images, modality: Int[Array, "n"]) -> FeatureMap:
        """Returns E_il's last feature map of grey tones, of one network for both modalities."""
        del modality
        content = infer(self.pieces["E_sl"], state.variables("E_sl"), grey(inputs), "feature_map")
        return infer(self.pieces["E_il"], state.variables("E_il"), content, "feature_map")

    def features_of_map(
        self, state: State, feature_map: FeatureMap, modality: Int[Array, "n"]
    ) -> Float[Array, "n dim"]:
        """Computes the pooled features after BatchNorm."""
        del modality
        pooled = call(self.pieces["E_il"], {}, feature_map, method="pooled")
        features, _ = infer(self.neck, state.variables("neck"), pooled)
        return features

    @property
    def unused_after_training(self) -> tuple[str, ...]:
        """The discriminators and the neck's classifier."""
        return ("D_rgb", "D_ir", "neck/classifier")
