"""Stage `image`: the paper's image-space system (section 3), one compiled function per iteration.

The paper's symbols: s structure code, a appearance code, E_s and E_a their encoders, G generator, D discriminator,
x_1 an anchor, x_1^2 = G(a_2, s_1) the swapped image with the structure of x_1 and the appearance of x_2.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Int, UInt8
from ml_collections import ConfigDict

from rgbir_jax.errors import UserError
from rgbir_jax.lookup import choose, construct, quoted
from rgbir_jax.losses import adversarial, identity
from rgbir_jax.losses.ranking import batch_hard_triplet
from rgbir_jax.losses.reconstruction import l1
from rgbir_jax.models.appearance_encoder import SLICES
from rgbir_jax.models.discriminator import Discriminator
from rgbir_jax.models.generator import Generator
from rgbir_jax.models.layers import part_max_pool
from rgbir_jax.models.structure_encoder import SEES, StructureEncoder, grey
from rgbir_jax.stages.figures import between, combinations, repeated, rows
from rgbir_jax.stages.inputs import check_input
from rgbir_jax.stages.pairing import SWAPS, check_both_modalities, check_identities, check_shots, partners
from rgbir_jax.stages.recognition import Recognised, Recogniser
from rgbir_jax.stages.views import Views, flatten, views
from rgbir_jax.stages.weights import total, weight_schedules
from rgbir_jax.training import parallel
from rgbir_jax.training.descent import accumulate
from rgbir_jax.training.optimizers import Optimizers, gradient_norms
from rgbir_jax.training.stage import DeviceBatch, FeatureMap, Images, Key, Metrics, Stage, image_spec
from rgbir_jax.training.state import Network, State, call, infer

TEACHER_KL = ("p||q", "q||p")
TRIPLET_ON = ("logits", "pooled")
SAME_IDENTITY = {"L_simple", "L_cross", "L_id_orig", "L_fine_orig", "L_triplet"}  # terms without swapped images
FINE = {"L_fine_orig", "L_fine_recon"}  # terms of the head "head_fine"
Structure = Float[Array, "n h w code"]
Appearance = Float[Array, "n slices channels"]


class Targets(NamedTuple):
    """Constants of an iteration on one device, with n anchors.

    Attributes:
        x_1: the anchors.
        y_1: their identities.
        y_2: the identities that gave x_1^2 its appearance.
        y_real: the identities of all real images.
        partner: for each anchor of the global batch, the place of the anchor that gives it an appearance.
        batch_stats: the running statistics of the recogniser's networks after the real images.
    """

    x_1: Images
    y_1: Int[Array, "n"]
    y_2: Int[Array, "n"]
    y_real: Int[Array, "m"]
    partner: Int[Array, "global"]
    batch_stats: dict


class Generated(NamedTuple):
    """What E_s, E_a and G make of a batch on one device; gradients flow back through all of it.

    Attributes:
        s_1: structure codes of the anchors.
        a_1: appearance codes of the anchors.
        a_positive: appearance codes of a second image of the same identity and modality.
        a_2: appearance codes that x_1^2 was given.
        x_simple: G(a_1, s_1), for L_simple. Images that no term needs are None.
        x_cross: G(a_positive, s_1), for L_cross.
        x_swap: x_1^2 = G(a_2, s_1) with x_2 of another identity.
        real: what the recogniser makes of all real images; p are its logits by head.
    """

    s_1: Structure
    a_1: Appearance
    a_positive: Appearance
    a_2: Appearance
    x_simple: Images | None
    x_cross: Images | None
    x_swap: Images | None
    real: Recognised


def only_if(learns: Array, tree):
    """Lets the gradient pass if `learns` is 1 and stops it if it is 0; the value stays."""
    return jax.tree.map(lambda x: learns * x + (1 - learns) * stop_gradient(x), tree)


@dataclass(frozen=True, eq=False)
class ImageSystem(Stage):
    """E_s, E_a, G and D with their losses; the config has the choices on which the paper and DG-Net differ.

    Attributes:
        E_s: the structure encoder.
        recogniser: the appearance encoder E_a and the heads. These see the code that `networks.recognises` names.
        generator: G.
        discriminator: D.
        teacher: the recogniser of L_dis' teacher; None without one.
        compares: what retrieval compares: "phi", which the heads give; the appearance code "a"; or the
            structure code "s", pooled over body parts as `a` is. Its mean over the image is 0: E_s normalises it.
    """

    read_late = ("total_scale", "margin", "detach_appearance", "freeze_appearance", "alternate_structure")

    E_s: StructureEncoder
    recogniser: Recogniser
    generator: Generator
    discriminator: Discriminator
    teacher: Recogniser | None
    compares: Literal["phi", "a", "s"] = "phi"

    @classmethod
    def build(cls, recipe: ConfigDict, name: str, classes: int) -> "ImageSystem":
        """Makes the stage that `recipe[name]` describes.

        Raises:
            UserError: for L_dis without a teacher, a teacher that does not see RGB, networks unlike those of the stage
                it starts from, batches without the pairs that the losses need, images of a size that G cannot make, or
                an unknown value of a choice.
        """
        config = recipe[name]
        check_input(recipe, name)
        check_identities(recipe.batch)
        check_shots(recipe.batch)
        check_size(recipe.image_size)
        weights = weight_schedules(config.weights, config.ramp)
        if "L_dis" in weights and not config.teacher:
            raise UserError("L_dis needs a teacher: name a classifier stage of the recipe, or set its weight to 0.")
        if (fine := FINE & weights.keys()) and "head_fine" not in config.networks.heads:
            raise UserError(
                f"{min(fine)} needs a second head: add head_fine to config.{name}.networks.heads, and a section "
                f"config.{name}.networks.head_fine, or set the weight to 0."
            )
        choose(config.teacher_kl, TEACHER_KL, f"config.{name}.teacher_kl")
        if choose(config.swaps, SWAPS, f"config.{name}.swaps") == "across":
            check_both_modalities(recipe, f'config.{name}.swaps = "across" needs')
        choose(config.adversarial, adversarial.GAMES, f"config.{name}.adversarial")
        choose(config.get("triplet_on", "logits"), TRIPLET_ON, f"config.{name}.triplet_on")
        choose(config.networks.E_s.get("sees", "grey"), SEES, f"config.{name}.networks.E_s.sees")
        dtype = jnp.dtype(recipe.dtype)
        key = f"config.{name}.networks"
        E_s = construct(StructureEncoder, config.networks.E_s, f"{key}.E_s", dtype=dtype)
        G = construct(Generator, config.networks.G, f"{key}.G", width=config.networks.E_s.code, dtype=dtype)
        D = construct(Discriminator, config.networks.D, f"{key}.D", dtype=dtype)
        recogniser = Recogniser.build(config.networks, classes, recipe.dtype, key, E_s)
        if config.start_from:
            check_start(recipe, name)
        teacher = None
        if config.teacher:
            key = f"config.{config.teacher}.networks"
            teacher = Recogniser.build(recipe[config.teacher].networks, classes, recipe.dtype, key)

        x = image_spec(recipe)
        networks = recogniser.networks(x)
        _, (a, _) = networks["E_a"].shapes()
        networks["E_s"] = Network(E_s, (jax.eval_shape(grey, x),))
        _, s = networks["E_s"].shapes()
        networks |= {"G": Network(G, (a, s)), "D": Network(D, (x,))}
        optimizers = Optimizers(config.optimizers, config.decay, tuple(networks))
        return cls(recipe, config, classes, networks, optimizers, weights, E_s, recogniser, G, D, teacher)

    def init(self, key: Key, previous: dict[str, State]) -> State:
        """Makes fresh parameters, with the frozen teacher.

        Networks that the stage named by `start_from` has as well are its own: E_a and the head of a classifier, all of
        an image stage.
        """
        state = super().init(key, previous)
        if self.config.start_from:
            start = previous[self.config.start_from]
            params = {network: start.params.get(network, fresh) for network, fresh in state.params.items()}
            batch_stats = {network: start.batch_stats.get(network, own) for network, own in state.batch_stats.items()}
            state = dataclasses.replace(
                state, params=params, batch_stats=batch_stats, opt_state=self.optimizers.init(params)
            )
        if self.teacher:
            teacher = previous[self.config.teacher]
            state = dataclasses.replace(
                state, frozen={"teacher": {"params": teacher.params, "batch_stats": teacher.batch_stats}}
            )
        return state

    # ---------------------------------------------------------------- section 3.3, the images

    def generate(self, params: dict, batch_stats: dict, view: Views, key: Array) -> tuple[Generated, Targets]:
        """Encodes a batch and generates the images that the terms need, in one pass of G."""
        dropout_key, partner_key = jax.random.split(key)
        x_1 = view.clean[:, :, 0].reshape(-1, *view.clean.shape[3:])
        y_1 = view.label[:, :, 0].reshape(-1)
        s_1 = call(self.E_s, params["E_s"], grey(x_1))
        (a_1, a_positive), real, batch_stats = self.encode_appearance(params, batch_stats, view, dropout_key)
        a_2, y_2, partner = self.pair(a_1, y_1, view.label.shape[1], partner_key)

        images = self.images_for(params, {"x_simple": a_1, "x_cross": a_positive, "x_swap": a_2}, s_1)
        generated = Generated(s_1, a_1, a_positive, a_2, real=real, **images)
        return generated, Targets(x_1, y_1, y_2, flatten(view.label), partner, batch_stats)

    def images_for(self, params: dict, a: dict[str, Appearance], s_1: Structure) -> dict[str, Images | None]:
        """Generates images with the structure codes s_1 and each of several appearance codes, if a term needs them."""
        terms = {"x_simple": {"L_simple"}, "x_cross": {"L_cross"}, "x_swap": self.weights.keys() - SAME_IDENTITY}
        needed = [name for name in a if terms[name] & self.weights.keys()]
        none = dict.fromkeys(a)
        if not needed:
            return none
        x = self.G(params, jnp.concatenate([a[name] for name in needed]), jnp.concatenate([s_1] * len(needed)))
        return none | dict(zip(needed, jnp.split(x, len(needed)), strict=True))

    def encode_appearance(
        self, params: dict, batch_stats: dict, view: Views, key: Array
    ) -> tuple[tuple[Appearance, Appearance], Recognised, dict]:
        """Applies E_a and the heads to the real images.

        Returns:
            The codes of the anchors and those of a second image of the same identity and modality; what was recognised
            in all images; the new running statistics.
        """
        erased = flatten(view.erased) if self.recipe.augment.erase.probability else None
        real, batch_stats = self.recogniser.train(params, batch_stats, flatten(view.clean), key, erased=erased)
        a = real.code.reshape(*view.label.shape, *real.code.shape[1:])
        if self.config.detach_appearance:
            a = stop_gradient(a)
        a_1, a_positive = (a[:, :, shot].reshape(-1, *a.shape[3:]) for shot in (0, 1))
        return (a_1, a_positive), real, batch_stats

    def pair(
        self, a_1: Appearance, y_1: Int[Array, "n"], modalities: int, key: Array
    ) -> tuple[Appearance, Int[Array, "n"], Int[Array, "global"]]:
        """Gives each anchor the appearance of another identity of the global batch.

        Returns:
            (a_2, y_2, partner), as in `Generated` and `Targets`.
        """
        a_global, y_global = parallel.gather(a_1), parallel.gather(y_1)
        partner = partners(key, len(y_global) // modalities, modalities, self.config.swaps)
        x_2 = partner[parallel.positions(len(y_1))]
        return a_global[x_2], y_global[x_2], partner

    def G(self, params: dict, a: Appearance, s: Structure) -> Images:
        """Generates images from appearance and structure codes."""
        return call(self.generator, params["G"], a, s)

    # ---------------------------------------------------------------- sections 3.3 and 3.4, the losses

    def total(self, terms: dict[str, Array], step: Array) -> Array:
        """Returns the given terms' part of L_total at an iteration."""
        return self.config.total_scale * total(terms, self.weights, step)

    def discriminator_terms(self, params_D: dict, x_1: Images, x_swap: Images | None) -> dict[str, Array]:
        """Computes D's side of the game: L_adv_D, and R1 if it has a weight."""
        D, terms = partial(call, self.discriminator, params_D), {}
        if "L_adv_D" in self.weights:
            terms["L_adv_D"] = adversarial.discriminator_loss(D(x_1), D(x_swap), self.config.adversarial)
        if "L_R1" in self.weights:
            terms["L_R1"] = adversarial.r1_penalty(D, x_1)
        return terms

    def same_identity_terms(self, x: Generated, targets: Targets) -> dict[str, Array]:
        """Computes L_simple, L_cross and L_id_orig (section 3.3), L_fine_orig of DG-Net's fine head, L_triplet."""
        terms = {}
        if x.x_simple is not None:
            terms["L_simple"] = l1(targets.x_1, x.x_simple)
        if x.x_cross is not None:
            terms["L_cross"] = l1(targets.x_1, x.x_cross)
        if "L_id_orig" in self.weights:
            terms["L_id_orig"] = identity.cross_entropy(x.real.logits["head"], targets.y_real)
        if "L_fine_orig" in self.weights:
            shots = len(targets.y_real) // len(targets.y_1)  # the first of each identity and modality is an anchor
            terms["L_fine_orig"] = identity.cross_entropy(x.real.logits["head_fine"][::shots], targets.y_1)
        if "L_triplet" in self.weights:
            terms["L_triplet"] = self.triplet_term(x.real, targets.y_real)
        return terms

    def triplet_term(self, real: Recognised, y_real: Int[Array, "m"]) -> Array:
        """Computes L_triplet, batch-hard among the real images of all devices.

        `config.triplet_on` says on what: "logits", summed over the heads, as in the released code; or "pooled", the
        features that the heads see, as in AGW's baseline.
        """
        y_global, m = parallel.gather(y_real), self.config.margin
        on_logits = self.config.get("triplet_on", "logits") == "logits"
        compared = real.logits.values() if on_logits else (real.pooled,)
        terms = [batch_hard_triplet(x, y_real, parallel.gather(x), y_global, m) for x in compared]
        return sum(map(jnp.mean, terms), start=jnp.zeros(()))

    def different_identity_terms(
        self, params: dict, params_D: dict, x: Generated, targets: Targets, key: Array
    ) -> dict[str, Array]:
        """Computes L_code, L_id_recon and L_adv_G of the swapped images (section 3.3), and L_cycle.

        Args:
            params: the parameters of all networks but D.
            params_D: the new D's.
            x: what `generate` gives for the same parameters.
            targets: the constants that it gives.
            key: the key of the coin.
        """
        if x.x_swap is None:
            return {}
        terms, params_E_s, x_swap, s_1 = {}, params["E_s"], x.x_swap, x.s_1
        if self.config.alternate_structure:
            # Either E_s learns from the image, or the image learns through a fixed E_s; s_1 is only a target.
            coin = jax.random.bernoulli(key).astype(jnp.float32)
            params_E_s, x_swap, s_1 = only_if(coin, params_E_s), only_if(1 - coin, x_swap), stop_gradient(s_1)
        s_swap = call(self.E_s, params_E_s, grey(x_swap))
        if "L_code_s" in self.weights:
            terms["L_code_s"] = l1(s_1, s_swap)
        judge = stop_gradient(params) if self.config.freeze_appearance else params
        swapped, _ = self.recogniser.train(judge, targets.batch_stats, x.x_swap, None)
        if "L_code_a" in self.weights:
            terms["L_code_a"] = l1(stop_gradient(x.a_2), swapped.code)
        if "L_id_recon" in self.weights:
            y_swap = targets.y_1 if self.recogniser.structure else targets.y_2  # of the code that shows the identity
            terms["L_id_recon"] = identity.cross_entropy(swapped.logits["head"], y_swap)
        if "L_adv_G" in self.weights:
            logits = call(self.discriminator, params_D, x.x_swap)
            terms["L_adv_G"] = adversarial.generator_loss(logits, self.config.adversarial)
        if "L_cycle" in self.weights:
            a_swap = parallel.gather(stop_gradient(swapped.code))
            # Cycle reconstruction of x_1 from generated images: structure from x_1^2, appearance from the image
            # rendered with a_1.
            rendered_with_a_1 = jnp.argsort(targets.partner)[parallel.positions(len(targets.x_1))]
            terms["L_cycle"] = l1(targets.x_1, self.G(params, a_swap[rendered_with_a_1], s_swap))
        return terms

    def distillation_terms(
        self, params: dict, teacher: dict | None, x: Generated, targets: Targets, key: Array
    ) -> dict[str, Array]:
        """Computes the terms by which constant swapped images train the recogniser: L_dis (section 3.4).

        L_fine_recon is DG-Net's: its fine head names a swapped image by the identity that gave the structure.
        """
        terms = {}
        if x.x_swap is None or not self.weights.keys() & {"L_dis", "L_fine_recon"}:
            return terms
        x_swap = stop_gradient(x.x_swap)
        recognised, _ = self.recogniser.train(params, targets.batch_stats, x_swap, key)
        if "L_fine_recon" in self.weights:
            terms["L_fine_recon"] = identity.cross_entropy(recognised.logits["head_fine"], targets.y_1)
        if "L_dis" in self.weights:
            p, log_q = recognised.logits["head"], self.ask_teacher(teacher, x_swap)
            ours_first = self.config.teacher_kl == "p||q"
            terms["L_dis"] = identity.kl_divergence(p, log_q) if ours_first else identity.kl_divergence(log_q, p)
        return terms

    def ask_teacher(self, teacher: dict | None, x: Images) -> Float[Array, "n classes"]:
        """Returns log q, held constant: q is the mean of the teacher's softmax over images and mirror images.

        The teacher normalises by the statistics of the batch that it is asked about, because its running statistics
        are those of real images, and generated images are too far from these.
        """
        recogniser = self.teacher
        assert recogniser is not None
        assert teacher is not None

        def log_q(x):
            recognised, _ = recogniser.train(teacher["params"], teacher["batch_stats"], x, None)
            return jax.nn.log_softmax(recognised.logits["head"])

        return stop_gradient(jnp.logaddexp(log_q(x), log_q(x[:, :, ::-1])) - jnp.log(2))

    # ---------------------------------------------------------------- section 4.2, an iteration

    def train_step(self, state: State, batch: DeviceBatch, key: Key) -> tuple[State, Metrics]:
        """Updates D on generated images, then E and G on the same images against the new D."""
        augment_key, key = jax.random.split(jax.random.fold_in(key, state.step))
        view = views(augment_key, batch["image"], batch["label"], self.recipe.augment)
        step = self.step if self.recipe.batch.parts == 1 else self.micro_batched_step
        params, opt_state, batch_stats, metrics = step(state, view, key)
        metrics["L_total"] = self.total({term: metrics[term] for term in self.weights}, state.step)
        state = dataclasses.replace(
            state, step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state
        )
        return state, parallel.mean(metrics)

    def step(self, state: State, view: Views, key: Key) -> tuple[dict, dict, dict, Metrics]:
        """Does an iteration on the whole batch: images are generated once, for both players.

        Returns:
            (params, opt_state, batch_stats, metrics) after it.
        """
        generate_key, loss_key = jax.random.split(key)
        params_EG = without_D(state.params)
        x, pull_back, targets = jax.vjp(
            lambda params: self.generate(params, state.batch_stats, view, generate_key), params_EG, has_aux=True
        )
        gradients_D, terms_D = self.gradient_D(state.params["D"], x, targets, state.step)
        params, opt_state, norms_D = self.update(gradients_D, state.params, state.opt_state)

        direct, through_x, terms = self.gradient_EG(
            params_EG, params["D"], state.frozen, x, targets, loss_key, state.step
        )
        gradients = jax.tree.map(jnp.add, direct, *pull_back(through_x))
        params, opt_state, norms = self.update(gradients, params, opt_state)
        return params, opt_state, targets.batch_stats, terms_D | norms_D | terms | norms

    def micro_batched_step(self, state: State, view: Views, key: Key) -> tuple[dict, dict, dict, Metrics]:
        """Does an iteration in parts. D first needs the gradients of all parts, so images are generated twice."""
        params_EG = without_D(state.params)

        def part_of_D(batch_stats, view, key):
            generate_key, _ = jax.random.split(key)
            x, targets = self.generate(params_EG, batch_stats, view, generate_key)
            return self.gradient_D(state.params["D"], x, targets, state.step), targets.batch_stats

        (gradients_D, terms_D), _ = accumulate(part_of_D, state.batch_stats, view, key, self.recipe.batch.parts)
        params, opt_state, norms_D = self.update(gradients_D, state.params, state.opt_state)

        def part_of_EG(batch_stats, view, key):
            generate_key, loss_key = jax.random.split(key)
            x, pull_back, targets = jax.vjp(
                lambda params: self.generate(params, batch_stats, view, generate_key), params_EG, has_aux=True
            )
            direct, through_x, terms = self.gradient_EG(
                params_EG, params["D"], state.frozen, x, targets, loss_key, state.step
            )
            return (jax.tree.map(jnp.add, direct, *pull_back(through_x)), terms), targets.batch_stats

        (gradients, terms), batch_stats = accumulate(part_of_EG, state.batch_stats, view, key, self.recipe.batch.parts)
        params, opt_state, norms = self.update(gradients, params, opt_state)
        return params, opt_state, batch_stats, terms_D | norms_D | terms | norms

    def gradient_D(self, params_D: dict, x: Generated, targets: Targets, step: Array) -> tuple[dict, dict[str, Array]]:
        """Returns the gradient of D's part of L_total, on images that D cannot move, and its terms."""
        x_swap = stop_gradient(x.x_swap)

        def loss(params_D):
            terms = self.discriminator_terms(params_D, targets.x_1, x_swap)
            return self.total(terms, step), terms

        gradient, terms = jax.grad(loss, has_aux=True)(params_D)
        return {"D": gradient}, terms

    def gradient_EG(
        self, params: dict, params_D: dict, frozen: dict, x: Generated, targets: Targets, key: Array, step: Array
    ) -> tuple[dict, Generated, dict[str, Array]]:
        """Returns the gradients of all other terms with respect to (params, x), the terms, and the accuracy."""

        def loss(params, x):
            terms = self.generator_terms(params, params_D, frozen.get("teacher"), x, targets, key)
            return self.total(terms, step), terms

        (direct, through_x), terms = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)
        return direct, through_x, terms | {"accuracy": identity.accuracy(x.real.logits["head"], targets.y_real)}

    def generator_terms(
        self, params: dict, params_D: dict, teacher: dict | None, x: Generated, targets: Targets, key: Array
    ) -> dict[str, Array]:
        """Computes every term of E and G that has a weight, by the paper's symbol; none of them moves D."""
        dropout_key, coin_key = jax.random.split(key)
        return (
            self.same_identity_terms(x, targets)
            | self.different_identity_terms(params, params_D, x, targets, coin_key)
            | self.distillation_terms(params, teacher, x, targets, dropout_key)
        )

    def update(self, gradients: dict, params: dict, opt_state: dict) -> tuple[dict, dict, dict[str, Array]]:
        """Averages gradients over the devices and takes an optimiser step.

        Returns:
            (params, opt_state) after it, and the norms of the gradients.
        """
        gradients = parallel.mean(gradients)
        return *self.optimizers.update(gradients, params, opt_state), gradient_norms(gradients)

    # ---------------------------------------------------------------- what the trained system gives

    def feature_map(self, state: State, inputs: Images, modality: Int[Array, "n"]) -> FeatureMap:
        """Returns what is pooled to phi(x), or to the code that `compares` names; one network for both modalities."""
        del modality
        if self.compares == "phi":
            return self.recogniser.feature_map(state.params, state.batch_stats, inputs)
        if self.compares == "a":
            return infer(self.recogniser.encoder, state.variables("E_a"), inputs, "feature_map")
        return call(self.E_s, state.params["E_s"], grey(inputs))

    def features_of_map(
        self, state: State, feature_map: FeatureMap, modality: Int[Array, "n"]
    ) -> Float[Array, "n dim"]:
        """Computes phi(x), or the code that `compares` names."""
        del modality
        if self.compares == "phi":
            return self.recogniser.retrieval_feature(state.params, state.batch_stats, feature_map)
        if self.compares == "a":
            code = call(self.recogniser.encoder, {}, feature_map, method="code")
        else:
            code = part_max_pool(feature_map, SLICES)
        return code.reshape(len(code), -1)

    def normalise(self, features: Float[Array, "n dim"]) -> Float[Array, "n dim"]:
        """Scales features to unit vectors, those of each head first."""
        return self.recogniser.normalise(features) if self.compares == "phi" else super().normalise(features)

    @property
    def unused_after_training(self) -> tuple[str, ...]:
        """D and the heads' classifiers."""
        return ("D", *self.recogniser.unused_after_training)

    @property
    def controls(self) -> dict[str, Stage]:
        """The codes themselves: the one that `networks.recognises` names should find people, the other should not."""
        return {code: dataclasses.replace(self, compares=code) for code in ("a", "s")}

    def codes(self, state: State, images: Images) -> tuple[Appearance, Structure]:
        """Returns the appearance and structure codes (a, s) of images, as at test time."""
        a = self.recogniser(state.params, state.batch_stats, images).code
        return a, call(self.E_s, state.params["E_s"], grey(images))

    def render(self, state: State, structure: Images, appearance: Images) -> Images:
        """Generates images G(a, s) with the structure of some images and the appearance of others."""
        _, s = self.codes(state, structure)
        a, _ = self.codes(state, appearance)
        return self.G(state.params, a, s)

    def interpolate(
        self, state: State, structure: Images, start: Images, end: Images, steps: int
    ) -> Float[Array, "n steps height width 3"]:
        """Generates images with the structure of some images, from the appearance of others to that of others still."""
        _, s = self.codes(state, structure)
        (first, _), (last, _) = self.codes(state, start), self.codes(state, end)
        return rows(partial(self.G, state.params), between(first, last, steps), repeated(s, steps))

    def pictures(self, state: State, images: Images) -> dict[str, UInt8[Array, "rows columns height width 3"]]:
        """Draws Figure 3: all structure x appearance combinations, and interpolations between codes of either kind."""
        return combinations(partial(self.G, state.params), *self.codes(state, images))


def check_size(image_size: Sequence[int]) -> None:
    """Refuses a size of images that G cannot make: E_s halves it twice, and G doubles that twice."""
    if wrong := [side for side in image_size if side % 4]:
        raise UserError(
            f"config.image_size is {tuple(image_size)}, and G makes images whose sides are multiples of 4; "
            f"set {-(-wrong[0] // 4) * 4} in place of {wrong[0]}."
        )


def check_start(recipe: ConfigDict, name: str) -> None:
    """Checks that a stage and the one it starts from have the same networks; weights of equal shapes can differ in use.

    Args:
        recipe: the whole config.
        name: the name of the stage. Dropout and `init_std` may differ, and the slices of a code that no G has read.

    Raises:
        UserError: if they have not, or if the heads see another code.
    """
    start, own = recipe[name].start_from, recipe[name].networks
    earlier = recipe[start].networks
    generates = "G" in earlier
    if own.recognises == "structure" and not generates:
        raise UserError(
            f"the head of {start} sees E_a, those of {name} see the structure code; "
            f'leave config.{name}.start_from empty, or set networks.recognises to "appearance".'
        )
    free = {"dropout", "init_std"} | (set() if generates else {"slices"})
    for network in sorted(set(own) & set(earlier)):
        if not isinstance(own[network], ConfigDict):
            continue
        for key in sorted(set(own[network]) - free):
            here, there = own[network][key], earlier[network].get(key)
            if here != there:
                raise UserError(
                    f"{name} starts from {start}: set config.{start}.networks.{network}.{key} to {quoted(here)} as "
                    f"well, not {quoted(there)}."
                )


def without_D(params: dict) -> dict:
    """Returns the parameters of all networks but D."""
    return {network: tree for network, tree in params.items() if network != "D"}
