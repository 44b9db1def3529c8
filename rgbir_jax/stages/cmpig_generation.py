"""Stage `cmpig_generation`: the first of cmPIG's two stages (Wang et al., AAAI 2020).

It learns to draw a twin of each image in the other modality. cmPIG's symbols: E_sl the first layers of a ResNet-50,
whose output is the content c of an image of either modality; s its style, which the encoder of its modality gives; G_r
and G_i the decoders of RGB and IR; f_r = G_r(c_i, s_r) the RGB twin of an IR image; f_i = G_i(c_r, s_i) that of an RGB
image of the same person. Images that are drawn, and those that they are compared with, have half the recipe's size and
are in −1..1.
"""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Int, PyTree, UInt8
from ml_collections import ConfigDict

from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.errors import UserError
from rgbir_jax.lookup import construct
from rgbir_jax.losses.adversarial import discriminator_loss, generator_loss
from rgbir_jax.losses.reconstruction import l1
from rgbir_jax.models.resnet import ResNet50
from rgbir_jax.models.styles import PatchDiscriminator, StyledDecoder, StyleEncoder
from rgbir_jax.models.two_stream import Stream
from rgbir_jax.stages.cmpig_images import grey, large, shown, small
from rgbir_jax.stages.pairing import check_both_modalities
from rgbir_jax.stages.resnet_start import check_resnet_start, start_resnets
from rgbir_jax.stages.views import Views, views
from rgbir_jax.stages.weights import total, weight_schedules
from rgbir_jax.training import parallel
from rgbir_jax.training.optimizers import Optimizers, gradient_norms
from rgbir_jax.training.stage import DeviceBatch, FeatureMap, Images, Key, Metrics, Stage, image_spec
from rgbir_jax.training.state import Network, State, call, infer, initialise

PIECES = {"E_sl": (0, 1), "E_il": (2, 3, 4)}  # the stages of the ResNet that each has
Both = tuple[Array, Array]  # of RGB images and of IR images of the same persons, in the same order


class Generated(NamedTuple):
    """What is drawn of a batch on one device; gradients flow back through all of it.

    Attributes:
        content: c_r, c_i [n, h, w, channels].
        style: s_r, s_i [n, code].
        same: images drawn with their own content and style.
        twin: f_r, f_i.
    """

    content: Both
    style: Both
    same: Both
    twin: Both


@dataclass(frozen=True, eq=False)
class CmPIGGeneration(Stage):
    """A style encoder, a decoder and a discriminator for each modality, on the content that a fixed E_sl gives.

    Attributes:
        pieces: the modules E_sl and E_il of the ResNet. Only stage `cmpig` applies E_il.
        style: the module of both style encoders.
        decoder: the module of both decoders.
        discriminator: the module of both discriminators.
    """

    pieces: dict[str, Stream]
    style: StyleEncoder
    decoder: StyledDecoder
    discriminator: PatchDiscriminator

    @classmethod
    def build(cls, recipe: ConfigDict, name: str, classes: int) -> "CmPIGGeneration":
        """Makes the stage that `recipe[name]` describes.

        Raises:
            UserError: for a recipe that ends with this stage, or what `check_drawn` and `check_resnet_start` refuse.
        """
        config = recipe[name]
        check_drawn(recipe, name)
        check_resnet_start(recipe, name, {"E": config.networks.E})
        if recipe.recipe[-1] == name:
            raise UserError(f"{name} learns to draw, not to find people; name a stage cmpig after it in config.recipe.")
        modules = modules_of(recipe, name)
        networks = generation_networks(recipe, *modules)
        optimizers = Optimizers(config.optimizers, config.decay, tuple(networks))
        return cls(recipe, config, classes, networks, optimizers, weight_schedules(config.weights), *modules)

    @property
    def frozen(self) -> dict[str, Network]:
        """E_sl and E_il."""
        return piece_networks(self.recipe, self.pieces)

    @property
    def drawn(self) -> ConfigDict:
        """How many identities and shots are drawn."""
        return self.config.drawn

    def init(self, key: Key, previous: dict[str, State]) -> State:
        """Makes fresh parameters and a frozen ResNet, also fresh or that of the classifier that `start_from` names."""
        key, frozen_key = jax.random.split(key)
        params, batch_stats = initialise(frozen_key, self.frozen)
        frozen = {piece: {"params": params[piece], "batch_stats": batch_stats[piece]} for piece in PIECES}
        return start_resnets(self, dataclasses.replace(super().init(key, previous), frozen=frozen), previous)

    # ---------------------------------------------------------------- images

    def content(
        self, params: PyTree, state: State, x: Float[Array, "n h w 3"], *, train: bool = True
    ) -> Float[Array, "n H W channels"]:
        """Computes the content of images in −1..1. E_sl sees their grey tones in the recipe's size.

        Args:
            params: the parameters of the trained networks.
            state: the state before the iteration.
            x: images.
            train: whether E_sl normalises by the statistics of these images, if it is trained; it is fixed here.
        """
        del params, train
        return infer(self.pieces["E_sl"], state.frozen["E_sl"], grey(large(x)), "feature_map")

    def styles(self, params: PyTree, x: Both) -> Both:
        """Computes the styles of images by the encoders of their modalities."""
        rgb, ir = (call(self.style, params[f"style_{name}"], x[m]) for m, name in enumerate(MODALITIES))
        return rgb, ir

    def draw(self, params: PyTree, content: Both, style: Both) -> Both:
        """Draws RGB images and IR images, each with the content and the style at its place."""
        rgb, ir = (call(self.decoder, params[f"G_{name}"], content[m], style[m]) for m, name in enumerate(MODALITIES))
        return rgb, ir

    def generate(self, params: PyTree, state: State, x: Both) -> Generated:
        """Encodes images, and draws each of them and its twin."""
        c_r, c_i = halves(self.content(params, state, jnp.concatenate(x)))
        s_r, s_i = self.styles(params, x)
        contents = jnp.concatenate([c_r, c_i]), jnp.concatenate([c_i, c_r])
        drawn = self.draw(params, contents, (jnp.concatenate([s_r, s_r]), jnp.concatenate([s_i, s_i])))
        (same_r, f_r), (same_i, f_i) = map(halves, drawn)
        return Generated((c_r, c_i), (s_r, s_i), (same_r, same_i), (f_r, f_i))

    def twins_content(self, params: PyTree, state: State, twin: Both) -> Both:
        """Computes the content of f_i and that of f_r, which should be c_r and c_i."""
        f_r, f_i = twin
        return halves(self.content(params, state, jnp.concatenate([f_i, f_r])))

    def chosen(self, x: Float[Array, "identity 2 shot height width 3"]) -> Both:
        """Takes the images that are drawn: the first shots of some identities, spread over those of this device."""
        count = self.drawn.identities * len(x) // self.recipe.batch.identities
        images = x[jnp.arange(count) * len(x) // count, :, : self.drawn.shots]
        rgb, ir = (small(images[:, m].reshape(-1, *x.shape[3:])) for m in (0, 1))
        return rgb, ir

    # ---------------------------------------------------------------- losses

    def discriminator_terms(self, params: PyTree, x: Both, twin: Both) -> dict[str, Array]:
        """Computes L_D of real images and of twins, if it has a weight."""
        if "L_D" not in self.weights:
            return {}
        pairs = zip(self.maps(params, x), self.maps(params, twin), strict=True)
        return {"L_D": jnp.sum(jnp.stack([discriminator_loss(real, fake, "lsgan") for real, fake in pairs]))}

    def maps(self, params: PyTree, x: Both) -> list[list[Array]]:
        """Computes the maps of both discriminators, each of the images of its modality."""
        return [call(self.discriminator, params[f"D_{name}"], x[m]) for m, name in enumerate(MODALITIES)]

    def terms(
        self, params: PyTree, params_D: PyTree, state: State, x: Both, made: Generated, view: Views
    ) -> tuple[dict[str, Array], dict[str, Array], PyTree]:
        """Computes every term but L_D that has a weight. Those of images are sums over both modalities.

        Args:
            params: the parameters of all networks but the discriminators.
            params_D: those of the discriminators.
            state: the state before the iteration.
            x: the real images.
            made: what `generate` gives for the same parameters.
            view: the whole batch.

        Returns:
            The terms by symbol, other metrics, and the new running statistics.
        """
        del view
        return self.generation_terms(params, params_D, state, x, made), {}, state.batch_stats

    def generation_terms(
        self, params: PyTree, params_D: PyTree, state: State, x: Both, made: Generated
    ) -> dict[str, Array]:
        """Computes L_recon, L_cyc, L_gan and L_feature, those that have a weight."""
        terms = {}
        if "L_recon" in self.weights:
            terms["L_recon"] = l1_of_both(made.same, x)
        if "L_cyc" in self.weights:
            again = self.draw(params, self.twins_content(params, state, made.twin), made.style)
            terms["L_cyc"] = l1_of_both(again, x)
        if "L_gan" in self.weights:
            of_rgb, of_ir = (generator_loss(maps, "lsgan") for maps in self.maps(params_D, made.twin))
            terms["L_gan"] = (of_rgb + of_ir) / 2  # `generator_loss` has DG-Net's factor of 2
        if "L_feature" in self.weights:
            # E_sl learns nothing from it, neither as the encoder of the twins nor through the content that they show.
            fixed = {name: stop_gradient(tree) if name in PIECES else tree for name, tree in params.items()}
            c_r, c_i = stop_gradient(made.content)
            twin = self.draw(fixed, (c_i, c_r), made.style)
            terms["L_feature"] = l1_of_both(self.twins_content(fixed, state, twin), (c_r, c_i))
            terms["L_feature"] += l1_of_both(self.styles(fixed, twin), made.style)
        return terms

    # ---------------------------------------------------------------- an iteration

    def train_step(self, state: State, batch: DeviceBatch, key: Key) -> tuple[State, Metrics]:
        """Updates the discriminators on twins, then all other networks on the same twins against the new ones."""
        view = views(jax.random.fold_in(key, state.step), batch["image"], batch["label"], self.recipe.augment)
        x = self.chosen(view.clean)
        others = {name: tree for name, tree in state.params.items() if not name.startswith("D_")}
        made, pull_back = jax.vjp(lambda params: self.generate(params, state, x), others)

        def loss_D(params):
            terms = self.discriminator_terms(params, x, stop_gradient(made.twin))
            return total(terms, self.weights, state.step), terms

        params_D = {name: tree for name, tree in state.params.items() if name.startswith("D_")}
        gradients, terms_D = jax.grad(loss_D, has_aux=True)(params_D)
        params, opt_state, norms_D = self.update(gradients, state.params, state.opt_state)

        def loss(others, made):
            terms, metrics, batch_stats = self.terms(others, params, state, x, made, view)
            return total(terms, self.weights, state.step), (terms, metrics, batch_stats)

        (direct, through), (terms, metrics, batch_stats) = jax.grad(loss, argnums=(0, 1), has_aux=True)(others, made)
        gradients = jax.tree.map(jnp.add, direct, *pull_back(through))
        params, opt_state, norms = self.update(gradients, params, opt_state)

        terms |= terms_D
        metrics |= terms | norms_D | norms | {"L_total": total(terms, self.weights, state.step)}
        state = dataclasses.replace(
            state, step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state
        )
        return state, parallel.mean(metrics)

    def update(self, gradients: PyTree, params: PyTree, opt_state: PyTree) -> tuple[PyTree, PyTree, dict[str, Array]]:
        """Averages gradients over the devices and takes an optimiser step.

        Returns:
            (params, opt_state) after it, and the norms of the gradients.
        """
        gradients = parallel.mean(gradients)
        return *self.optimizers.update(gradients, params, opt_state), gradient_norms(gradients)

    # ---------------------------------------------------------------- what the trained system gives

    def feature_map(self, state: State, inputs: Images, modality: Int[Array, "n"]) -> FeatureMap:
        """Returns the content of images. Nothing of it is learnt in this stage: it shows where `cmpig` starts."""
        del modality
        return infer(self.pieces["E_sl"], state.frozen["E_sl"], grey(inputs), "feature_map")

    def features_of_map(
        self, state: State, feature_map: FeatureMap, modality: Int[Array, "n"]
    ) -> Float[Array, "n dim"]:
        """Computes the mean content."""
        del state, modality
        return call(self.pieces["E_sl"], {}, feature_map, method="pooled")

    @property
    def unused_after_training(self) -> tuple[str, ...]:
        """The discriminators."""
        return ("D_rgb", "D_ir")

    def pictures(self, state: State, images: Images) -> dict[str, UInt8[Array, "rows columns height width 3"]]:
        """Draws the content of each image in the style of each, and each image from what such a drawing shows of it.

        Returns:
            `swapped` [content, style, ...], with the twins; `cycles`, whose [i, j] is image i drawn with the content of
            `swapped` [i, j] and its own style.
        """
        n, x = len(images) // 2, small(images)
        styles = self.styles(state.params, (x[:n], x[n:]))

        def content(x: Array) -> Array:
            return self.content(state.params, state, x, train=False)

        def in_own_style(c: Array) -> Array:
            return jnp.concatenate(self.draw(state.params, (c[:n], c[n:]), styles))

        def of_one(c: Array) -> Array:
            return in_own_style(jnp.broadcast_to(c, (2 * n, *c.shape)))

        swapped = jax.lax.map(of_one, content(x))
        cycles = jax.lax.map(lambda drawings: in_own_style(content(drawings)), swapped.swapaxes(0, 1))
        return {"swapped": shown(swapped), "cycles": shown(cycles.swapaxes(0, 1))}


def check_drawn(recipe: ConfigDict, name: str) -> None:
    """Checks that batches have the images that are drawn.

    Args:
        recipe: the whole config; `batch`, `modalities` and `image_size`.
        name: the name of the stage with the section `drawn` (`identities`, `shots`).

    Raises:
        UserError: for one modality, batches in parts, fewer identities or shots than are drawn, a number of identities
            that the devices cannot divide, or images of a size that cannot be drawn.
    """
    check_both_modalities(recipe, "twins need")
    drawn, batch = recipe[name].drawn, recipe.batch
    if batch.parts != 1:
        raise UserError(f"{name} takes batches whole; set config.batch.parts to 1, not {batch.parts}.")
    for key in ("identities", "shots"):
        if drawn[key] > batch[key]:
            raise UserError(
                f"config.{name}.drawn.{key} is {drawn[key]}, and a batch has {batch[key]}; set it to at most these."
            )
    parallel.check_divisible(drawn.identities, f"config.{name}.drawn.identities")
    if wrong := [side for side in recipe.image_size if side % 4]:
        raise UserError(
            f"config.image_size is {tuple(recipe.image_size)}, and {name} draws images whose sides are multiples of 4; "
            f"set {-(-wrong[0] // 4) * 4} in place of {wrong[0]}."
        )


def modules_of(
    recipe: ConfigDict, name: str
) -> tuple[dict[str, Stream], StyleEncoder, StyledDecoder, PatchDiscriminator]:
    """Makes the modules that the section `recipe[name].networks` describes, in the order of the stage's fields."""
    config, key, dtype = recipe[name].networks, f"config.{name}.networks", jnp.dtype(recipe.dtype)
    compute = {"dtype": dtype, "axis_name": parallel.AXIS}
    return (
        {
            piece: Stream(construct(ResNet50, config.E, f"{key}.E", stages=stages, **compute))
            for piece, stages in PIECES.items()
        },
        construct(StyleEncoder, config.style, f"{key}.style", dtype=dtype),
        construct(StyledDecoder, config.G, f"{key}.G", dtype=dtype),
        construct(PatchDiscriminator, config.D, f"{key}.D", dtype=dtype),
    )


def piece_networks(recipe: ConfigDict, pieces: dict[str, Stream]) -> dict[str, Network]:
    """Returns E_sl and E_il with the shapes that they are called on."""
    E_sl = Network(pieces["E_sl"], (image_spec(recipe),), {"train": False})
    whole = Network(pieces["E_sl"], E_sl.inputs, E_sl.options | {"method": "feature_map"})
    return {"E_sl": E_sl, "E_il": Network(pieces["E_il"], (whole.shapes()[1],), {"train": False})}


def generation_networks(
    recipe: ConfigDict,
    pieces: dict[str, Stream],
    style: StyleEncoder,
    decoder: StyledDecoder,
    discriminator: PatchDiscriminator,
) -> dict[str, Network]:
    """Returns the style encoders, decoders and discriminators with the shapes that they are called on.

    Raises:
        UserError: for images that are too small for the discriminators.
    """
    content = piece_networks(recipe, pieces)["E_il"].inputs
    x = (jax.eval_shape(small, image_spec(recipe)),)
    networks = {f"style_{name}": Network(style, x) for name in MODALITIES}
    code = networks["style_rgb"].shapes()[1]
    networks |= {f"G_{name}": Network(decoder, (*content, code)) for name in MODALITIES}
    networks |= {f"D_{name}": Network(discriminator, x) for name in MODALITIES}
    networks["D_rgb"].shapes()  # images that are too small for it are refused here
    return networks


def halves(x: Float[Array, "both ..."]) -> Both:
    """Splits an array into the first and the second half of its rows."""
    first, second = jnp.split(x, 2)
    return first, second


def l1_of_both(x: Both, y: Both) -> Array:
    """Adds the l1 distances of both modalities."""
    return l1(x[0], y[0]) + l1(x[1], y[1])
