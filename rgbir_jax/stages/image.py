"""Stage `image`: the paper's image-space system (section 3), one compiled function an iteration.

The paper's symbols: s structure code, a appearance code, E_s and E_a their encoders, G generator, D discriminator,
x_1 an anchor, x_1^2 = G(a_2, s_1) the swapped image with the structure of x_1 and the appearance of x_2.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from rgbir_jax.losses import adversarial, identity
from rgbir_jax.losses.reconstruction import l1
from rgbir_jax.models.discriminator import Discriminator
from rgbir_jax.models.generator import Generator
from rgbir_jax.models.structure_encoder import StructureEncoder
from rgbir_jax.stages.pairing import check_identities, partners
from rgbir_jax.stages.recognition import Recognised, Recogniser
from rgbir_jax.stages.views import Views, flatten, views
from rgbir_jax.stages.weights import total, weight_schedules
from rgbir_jax.training import parallel
from rgbir_jax.training.descent import accumulate
from rgbir_jax.training.optimizers import Optimizers, Schedule, gradient_norms
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import Network, State, call, initialise

Images = Float[Array, "n height width 3"]


class Generated(NamedTuple):
    """One forward through both encoders and the generator, on one device.

    Attributes:
        x_1: the anchors.
        s_1: their structure codes.
        x_same: G(a_1, s_1), of L_simple.
        x_cross: G(a_2, s_1) with x_2 of the same identity and modality, of L_cross.
        x_swap: x_1^2 = G(a_2, s_1) with x_2 of another identity.
        a_2: the appearance codes that x_swap was given.
        y_2: whose they are.
        y_1: the identities of the anchors.
        real: what E_a and its heads say of all real images.
        y_real: their identities.
        batch_stats: E_a's running statistics after the real images.
        lender: for each anchor of the global batch the place of the anchor that lends it an appearance.
    """

    x_1: Images
    s_1: Float[Array, "n h w code"]
    x_same: Images
    x_cross: Images
    x_swap: Images
    a_2: Float[Array, "n 4 channels"]
    y_2: Int[Array, "n"]
    y_1: Int[Array, "n"]
    real: Recognised
    y_real: Int[Array, "m"]
    batch_stats: dict
    lender: Int[Array, "global"]


def grey(x: Images) -> Float[Array, "n height width 1"]:
    """The structure encoder's input: no colour can leak into s (section 3.3)."""
    return jnp.mean(x, axis=-1, keepdims=True)


def only_if(learns: Array, tree):
    """Lets the gradient pass where `learns` is 1 and stops it where it is 0; the value stays."""
    return jax.tree.map(lambda x: learns * x + (1 - learns) * stop_gradient(x), tree)


def build(config: ConfigDict, name: str, classes: int) -> Stage:
    """The stage that `config[name]` describes, for `classes` training identities."""
    own = config[name]
    system = ImageSystem.build(config, own, classes)
    return Stage(
        init=system.init,
        train_step=system.train_step,
        features=system.features,
        pictures=system.pictures,
        render=system.render,
        normalise=system.E_a.normalise,
        networks=system.networks,
        groups=system.optimizers.groups,
        schedules=system.optimizers.schedules | {f"weight/{term}": weight for term, weight in system.weights.items()},
        needs=tuple(dict.fromkeys(stage for stage in (own.teacher, own.start_from) if stage)),
    )


@dataclass(frozen=True)
class ImageSystem:
    """E_s, E_a, G and D with their losses; `config` holds the choices on which the paper and DG-Net differ."""

    config: ConfigDict
    augment: ConfigDict
    E_s: StructureEncoder
    E_a: Recogniser
    G: Generator
    D: Discriminator
    teacher: Recogniser | None
    networks: dict[str, Network]
    optimizers: Optimizers
    weights: dict[str, Schedule]
    parts: int

    @classmethod
    def build(cls, config: ConfigDict, own: ConfigDict, classes: int) -> "ImageSystem":
        """Modules, optimisers and weights from the config.

        Raises:
            ValueError: for L_dis without a teacher, an E_a that pools otherwise than the stage it starts from, or parts
                of a batch that have a single identity.
        """
        check_identities(config.batch)
        weights = weight_schedules(own.weights, own.ramp)
        if "L_dis" in weights and not own.teacher:
            raise ValueError("L_dis needs a teacher: name a classifier stage of the recipe, or set its weight to 0.")
        if own.start_from and (pool := config[own.start_from].networks.E_a.pool) != own.networks.E_a.pool:
            raise ValueError(
                f'E_a starts from {own.start_from}, whose head was trained on "{pool}" pooling; '
                f'set config.{own.start_from}.networks.E_a.pool to "{own.networks.E_a.pool}" as well.'
            )
        dtype = jnp.dtype(config.dtype)
        E_s = StructureEncoder(**own.networks.E_s, dtype=dtype)
        G = Generator(width=own.networks.E_s.code, **own.networks.G, dtype=dtype)
        D = Discriminator(**own.networks.D, dtype=dtype)
        E_a = Recogniser.build(own.networks, classes, config.dtype)

        x = jax.ShapeDtypeStruct((1, *config.image_size, 3), jnp.float32)
        networks = E_a.networks(config.image_size)
        _, (a, _) = networks["E_a"].shapes()
        networks["E_s"] = Network(E_s, (jax.eval_shape(grey, x),))
        _, s = networks["E_s"].shapes()
        networks |= {"G": Network(G, (s, a)), "D": Network(D, (x,))}
        return cls(
            config=own,
            augment=config.augment,
            E_s=E_s,
            E_a=E_a,
            G=G,
            D=D,
            teacher=Recogniser.build(config[own.teacher].networks, classes, config.dtype) if own.teacher else None,
            networks=networks,
            optimizers=Optimizers(own.optimizers, own.decay, tuple(networks)),
            weights=weights,
            parts=config.batch.parts,
        )

    def init(self, key, previous):
        """Fresh parameters; the teacher frozen beside them; E_a from an earlier stage if `start_from` names one."""
        params, batch_stats = initialise(key, self.networks)
        if self.config.start_from:
            start = previous[self.config.start_from]
            params |= {"E_a": start.params["E_a"], "head": start.params["head"]}
            batch_stats |= {"E_a": start.batch_stats["E_a"], "head": start.batch_stats["head"]}
        frozen = {}
        if self.teacher:
            teacher = previous[self.config.teacher]
            frozen["teacher"] = {"params": teacher.params, "batch_stats": teacher.batch_stats}
        return State(jnp.int32(0), params, batch_stats, self.optimizers.init(params), frozen)

    # ---------------------------------------------------------------- section 3.3, the images

    def generate(self, params: dict, batch_stats: dict, view: Views, key: Array) -> Generated:
        """Encodes the batch and generates the same-identity and the different-identity images, in one pass of G."""
        dropout_key, partner_key = jax.random.split(key)
        real, batch_stats = self.E_a.train(
            params,
            batch_stats,
            flatten(view.clean),
            dropout_key,
            erased=flatten(view.erased) if self.augment.erase.probability else None,
        )
        a = real.code.reshape(*view.label.shape, *real.code.shape[1:])
        if self.config.detach_appearance:
            a = stop_gradient(a)
        a_1, a_positive = (a[:, :, shot].reshape(-1, *a.shape[3:]) for shot in (0, 1))
        x_1 = view.clean[:, :, 0].reshape(-1, *view.clean.shape[3:])
        y_1 = view.label[:, :, 0].reshape(-1)
        s_1 = call(self.E_s, params["E_s"], grey(x_1))

        everyone, labels = parallel.gather(a_1), parallel.gather(y_1)
        modalities = view.label.shape[1]
        lender = partners(partner_key, len(labels) // modalities, modalities)
        mine = lender[parallel.positions(len(y_1))]
        a_2, y_2 = everyone[mine], labels[mine]

        images = call(self.G, params["G"], jnp.concatenate([s_1, s_1, s_1]), jnp.concatenate([a_1, a_positive, a_2]))
        x_same, x_cross, x_swap = jnp.split(images, 3)
        return Generated(
            x_1, s_1, x_same, x_cross, x_swap, a_2, y_2, y_1, real, flatten(view.label), batch_stats, lender
        )

    # ---------------------------------------------------------------- section 3.3 and 3.4, the losses

    def total(self, terms: dict[str, Array], step: Array) -> Array:
        """The given terms' part of L_total at an iteration."""
        return self.config.total_scale * total(terms, self.weights, step)

    def discriminator_terms(self, params: dict, x_1: Images, x_swap: Images) -> dict[str, Array]:
        """D's side of the game: L_adv_D, and R1 where it has a weight."""

        def D(x):
            return call(self.D, params["D"], x)

        terms = {}
        if "L_adv_D" in self.weights:
            terms["L_adv_D"] = adversarial.discriminator_loss(D(x_1), D(x_swap), self.config.adversarial)
        if "L_R1" in self.weights:
            terms["L_R1"] = adversarial.r1_penalty(D, x_1)
        return terms

    def gradient_D(self, params_D: dict, made: Generated, step: Array) -> tuple[dict, dict[str, Array]]:
        """(gradients of D's part of L_total, its terms), on images that D cannot move."""
        x_1, x_swap = stop_gradient((made.x_1, made.x_swap))

        def loss(params):
            terms = self.discriminator_terms(params, x_1, x_swap)
            return self.total(terms, step), terms

        return jax.grad(loss, has_aux=True)({"D": params_D})

    def generator_terms(
        self, params: dict, params_D: dict, teacher: dict | None, made: Generated, key: Array
    ) -> dict[str, Array]:
        """Every other term that has a weight, by the paper's symbol; none of them moves D.

        Args:
            params: of E_s, E_a, its heads and G.
            params_D: the new D's.
            teacher: its params and batch_stats.
            made: `generate` of the same params.
            key: of this iteration.
        """
        dropout_key, coin_key = jax.random.split(key)
        terms = {}

        def E_a(appearance_params, x, key=None):
            return self.E_a.train(appearance_params, made.batch_stats, x, key)[0]

        # Same identity: L_simple, L_cross, L_id_orig.
        if "L_simple" in self.weights:
            terms["L_simple"] = l1(made.x_1, made.x_same)
        if "L_cross" in self.weights:
            terms["L_cross"] = l1(made.x_1, made.x_cross)
        if "L_id_orig" in self.weights:
            terms["L_id_orig"] = identity.cross_entropy(made.real.logits["head"], made.y_real)
        if "L_fine_orig" in self.weights:
            shots = len(made.y_real) // len(made.y_1)  # the first of each identity and modality is an anchor
            terms["L_fine_orig"] = identity.cross_entropy(made.real.logits["head_fine"][::shots], made.y_1)

        # Different identity: L_code, L_id_recon, L_adv.
        params_E_s, x_swap, s_1 = params["E_s"], made.x_swap, made.s_1
        if self.config.alternate_structure:
            # Either E_s learns from the image, or the image learns through a fixed E_s; s_1 is only a target.
            coin = jax.random.bernoulli(coin_key).astype(jnp.float32)
            params_E_s, x_swap, s_1 = only_if(coin, params_E_s), only_if(1 - coin, x_swap), stop_gradient(s_1)
        s_swap = call(self.E_s, params_E_s, grey(x_swap))
        if "L_code_s" in self.weights:
            terms["L_code_s"] = l1(s_1, s_swap)
        swapped = E_a(stop_gradient(params) if self.config.freeze_appearance else params, made.x_swap)
        if "L_code_a" in self.weights:
            terms["L_code_a"] = l1(stop_gradient(made.a_2), swapped.code)
        if "L_id_recon" in self.weights:
            terms["L_id_recon"] = identity.cross_entropy(swapped.logits["head"], made.y_2)
        if "L_adv_G" in self.weights:
            judged = call(self.D, params_D, made.x_swap)
            terms["L_adv_G"] = adversarial.generator_loss(judged, self.config.adversarial)
        if "L_cycle" in self.weights:
            terms["L_cycle"] = l1(made.x_1, self.cycle(params, made, s_swap, stop_gradient(swapped.code)))

        # Swapped images held constant train E_a and its heads (section 3.4).
        learnt = E_a(params, stop_gradient(made.x_swap), dropout_key)
        if "L_fine_recon" in self.weights:
            terms["L_fine_recon"] = identity.cross_entropy(learnt.logits["head_fine"], made.y_1)
        if "L_dis" in self.weights:
            p, log_q = learnt.logits["head"], self.ask_teacher(teacher, made.x_swap)
            ours_first = self.config.teacher_kl == "p||q"
            terms["L_dis"] = identity.kl_divergence(p, log_q) if ours_first else identity.kl_divergence(log_q, p)
        return terms

    def ask_teacher(self, teacher: dict | None, x: Images) -> Float[Array, "n classes"]:
        """Log q, held constant: q is the mean of the teacher's softmax over the images and their mirror images.

        The teacher normalises by the statistics of the batch it is asked about: generated images lie too far from the
        real ones, of which its running statistics are.
        """
        recogniser = self.teacher
        assert recogniser is not None
        assert teacher is not None

        def log_q(x):
            judged, _ = recogniser.train(teacher["params"], teacher["batch_stats"], x, None)
            return jax.nn.log_softmax(judged.logits["head"])

        return stop_gradient(jnp.logaddexp(log_q(x), log_q(x[:, :, ::-1])) - jnp.log(2))

    def cycle(
        self, params: dict, made: Generated, s_swap: Float[Array, "n h w code"], a_swap: Float[Array, "n 4 channels"]
    ) -> Images:
        """Cycle reconstruction of x_1: structure from x_1^2, appearance from the image that was rendered with a_1."""
        borrower = jnp.argsort(made.lender)[parallel.positions(len(made.x_1))]
        return call(self.G, params["G"], s_swap, parallel.gather(a_swap)[borrower])

    # ---------------------------------------------------------------- section 4.2, an iteration

    def train_step(self, state, batch, key):
        """D's step on the images that E and G make now, then the step of E and G, on the same ones, against the new D.

        D's step stands inside the loss of E and G, behind `stop_gradient`, so that `generate` runs once. In parts it
        cannot: D must have seen all parts before E and G are judged, so `generate` first runs for D, without gradient.
        """
        augment_key, key = jax.random.split(jax.random.fold_in(key, state.step))
        view = views(augment_key, batch["image"], batch["label"], self.augment)
        params_EG = {network: params for network, params in state.params.items() if network != "D"}

        def step_D(gradients):
            gradients = parallel.mean(gradients)
            return self.optimizers.update(gradients, state.params, state.opt_state), gradient_norms(gradients)

        def part_of_D(batch_stats, part, part_key):
            generate_key, _ = jax.random.split(part_key)
            made = self.generate(params_EG, batch_stats, part, generate_key)
            return self.gradient_D(state.params["D"], made, state.step), made.batch_stats

        def part_of_EG(carry, part, part_key):
            generate_key, loss_key = jax.random.split(part_key)
            batch_stats, params, opt_state = carry

            def loss(params_EG):
                made = self.generate(params_EG, batch_stats, part, generate_key)
                terms_D, new = {}, (params, opt_state)
                if self.parts == 1:
                    gradients, terms_D = self.gradient_D(state.params["D"], made, state.step)
                    new, norms_D = step_D(gradients)
                    terms_D |= norms_D
                terms = self.generator_terms(params_EG, new[0]["D"], state.frozen.get("teacher"), made, loss_key)
                accuracy = identity.accuracy(made.real.logits["head"], made.y_real)
                metrics = terms_D | terms | {"accuracy": accuracy}
                return self.total(terms, state.step), (metrics, (made.batch_stats, *new))

            gradients, (metrics, carry) = jax.grad(loss, has_aux=True)(params_EG)
            return (gradients, metrics), carry

        terms_D, carry = {}, (state.batch_stats, state.params, state.opt_state)
        if self.parts > 1:
            (gradients, terms_D), _ = accumulate(part_of_D, state.batch_stats, view, key, self.parts)
            new, norms_D = step_D(gradients)
            terms_D |= norms_D
            carry = (state.batch_stats, *new)
        (gradients, metrics), (batch_stats, params, opt_state) = accumulate(part_of_EG, carry, view, key, self.parts)
        gradients = parallel.mean(gradients)
        params, opt_state = self.optimizers.update(gradients, params, opt_state)
        metrics = terms_D | metrics | gradient_norms(gradients)
        metrics["L_total"] = self.total({term: metrics[term] for term in self.weights}, state.step)
        state = state.replace(step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state)
        return state, parallel.mean(metrics)

    # ---------------------------------------------------------------- what the trained system gives

    def features(self, state, images, modality):
        """phi(x), one network for both modalities."""
        del modality
        return self.E_a(state.params, state.batch_stats, images).retrieval_feature()

    def render(self, state, structure_images, appearance_images):
        """G(a, s) with the structure of the former images and the appearance of the latter."""
        a = self.E_a(state.params, state.batch_stats, appearance_images).code
        s = call(self.E_s, state.params["E_s"], grey(structure_images))
        return call(self.G, state.params["G"], s, a)

    def pictures(self, state, images):
        """Figure 3: all structure x appearance combinations, and interpolations between codes of either kind.

        Args:
            state: of this stage.
            images: [n, h, w, 3], normalised.

        Returns:
            `swapped` [n structures, n appearances, h, w, 3]; `between_appearances` [n, 7, h, w, 3]: image i's
            structure, from its own appearance to the next image's; `between_structures`: the reverse.
        """
        a = self.E_a(state.params, state.batch_stats, images).code
        s = call(self.E_s, state.params["E_s"], grey(images))
        mix = jnp.linspace(0, 1, 7)

        def G(s, a):
            return call(self.G, state.params["G"], s, a)

        def between(codes):
            """[n, 7, ...]: from each code to the next one."""
            weight = mix.reshape(1, -1, *[1] * (codes.ndim - 1))
            return (1 - weight) * codes[:, None] + weight * jnp.roll(codes, -1, axis=0)[:, None]

        def rows(s, a):
            """One row of pictures at a time, which bounds the memory."""
            return jax.lax.map(lambda row: G(*row), (s, a))

        n = len(images)
        return {
            "swapped": rows(jnp.repeat(s[:, None], n, 1), jnp.repeat(a[None], n, 0)),
            "between_appearances": rows(jnp.repeat(s[:, None], len(mix), 1), between(a)),
            "between_structures": rows(between(s), jnp.repeat(a[:, None], len(mix), 1)),
        }
