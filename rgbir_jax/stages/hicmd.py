"""Stage `hicmd`: Hi-CMD (Choi et al., CVPR 2020), hierarchical cross-modality disentanglement.

An image is taken apart into a prototype p, a map; attributes t that identify a person; and attributes e that do not:
pose and illumination. Generation must turn an image into that of the same person in the other modality by exchanging e;
recognition reads p and t only. Each modality has encoders and a discriminator of its own; a and b are the RGB and the
IR image of a pair.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from ml_collections import ConfigDict

from rgbir_jax.data import augment
from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.errors import UserError
from rgbir_jax.lookup import choose, construct
from rgbir_jax.losses import adversarial, identity
from rgbir_jax.losses.reconstruction import l1
from rgbir_jax.models.attributes import Attributes
from rgbir_jax.models.discriminator import Discriminator
from rgbir_jax.models.resnet import EXPANSION
from rgbir_jax.stages.figures import between, combinations, repeated, rows, swapped
from rgbir_jax.stages.hicmd_generation import Generated, Pairs, PersonImageGeneration, Prototypes, exchanged, rectified
from rgbir_jax.stages.hicmd_recognition import NEGATIVES, HierarchicalRecognition, Samples, check_thirds, sources
from rgbir_jax.stages.image import check_size
from rgbir_jax.stages.modalities import by_modality, guessed_modality
from rgbir_jax.stages.pairing import check_both_modalities, check_identities
from rgbir_jax.stages.resnet_start import check_resnet_start, start_resnets
from rgbir_jax.stages.views import views
from rgbir_jax.stages.weights import total, weight_schedules
from rgbir_jax.training import parallel
from rgbir_jax.training.game import held, play
from rgbir_jax.training.optimizers import Optimizers
from rgbir_jax.training.stage import DeviceBatch, FeatureMap, Images, Key, Metrics, Stage, image_spec
from rgbir_jax.training.state import Network, State, call, infer

JUDGES = tuple(f"D_{modality}" for modality in MODALITIES)
OF_IMAGES = {"rebuilt": {"L_same"}, "alternative": {"L_adv", "L_D"}}  # the terms that need them


@dataclass(frozen=True, eq=False)
class HiCMD(Stage):
    """Generation, recognition and the discriminators with their losses.

    Attributes:
        generation: encoders and generator (ID-PIG).
        recognition: the networks that recognise people (HFL).
        discriminator: the module of both discriminators.
        compares: what retrieval compares: "f", which the head gives; pooled prototypes "p"; or attributes "t" or "e".
    """

    read_late = ("margin",)

    generation: PersonImageGeneration
    recognition: HierarchicalRecognition
    discriminator: Discriminator
    compares: Literal["f", "p", "t", "e"] = "f"

    @classmethod
    def build(cls, recipe: ConfigDict, name: str, classes: int) -> "HiCMD":
        """Makes the stage that `recipe[name]` describes.

        Raises:
            UserError: for a recipe of one modality, batches that are not whole or have no negatives, images of a size
                that G cannot make, an unknown value of a choice, or a stage to start from whose ResNet is another one.
        """
        config = recipe[name]
        check_both_modalities(recipe, "Hi-CMD needs")
        _check_batch(recipe.batch, choose(config.negatives, NEGATIVES, f"config.{name}.negatives"))
        check_size(recipe.image_size)
        check_resnet_start(recipe, name, {resnet: config.networks[resnet] for resnet in ("E_t", "HFL")})
        key, dtype = f"config.{name}.networks", jnp.dtype(recipe.dtype)
        D = construct(Discriminator, config.networks.D, f"{key}.D", dtype=dtype, activation=rectified)
        generation = PersonImageGeneration.build(config.networks, dtype, key)
        recognition = HierarchicalRecognition.build(generation, config.networks, classes, dtype, key)

        x = image_spec(recipe)
        networks = generation.networks(x)
        networks |= recognition.networks(networks) | {judge: Network(D, (x,)) for judge in JUDGES}
        optimizers = Optimizers(config.optimizers, config.decay, tuple(networks))
        weights = weight_schedules(config.weights, config.get("ramp"))
        return cls(recipe, config, classes, networks, optimizers, weights, generation, recognition, D)

    def init(self, key: Key, previous: dict[str, State]) -> State:
        """Makes fresh parameters, or takes the ResNets from E_a of the earlier stage that `start_from` names.

        The encoders of both modalities start from the same parameters.
        """
        state = start_resnets(self, super().init(key, previous), previous)
        same = {f"{encoder}_ir": state.params[f"{encoder}_rgb"] for encoder in ("E_p", "E_t")}
        return dataclasses.replace(state, params=state.params | same)

    def train_step(self, state: State, batch: DeviceBatch, key: Key) -> tuple[State, Metrics]:
        """Updates the discriminators on generated images, then all else on the same images against the new ones."""
        augment_key, erase_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step), 3)
        view = views(augment_key, batch["image"], batch["label"], self.recipe.augment)
        x = sources(view.clean, self.config.negatives)[:, 0]
        real, label = (sources(part, self.config.negatives) for part in (view.erased, view.label))

        def generate(params):
            return self.generation.generate(params, state.batch_stats, x, self.wanted)

        def judge(params_D, made):
            terms = self.discriminator_terms(params_D, x, made)
            return total(terms, self.weights, state.step), terms

        def make(params, made, batch_stats, params_D):
            terms = self.generation_terms(params, batch_stats, params_D, x, made)
            crossed = self.erased(erase_key, held(made.crossed))
            samples, batch_stats = self.recognition.train(params, batch_stats, real, crossed, label, dropout_key)
            terms |= self.recognition_terms(samples)
            of_real = samples.logits[:, : samples.real].reshape(label.size, -1)
            accuracy = {"accuracy": identity.accuracy(of_real, label.reshape(-1))}
            return total(terms, self.weights, state.step), (terms, accuracy, batch_stats)

        played = play(generate, judge, make, JUDGES, state.params, state.opt_state, self.optimizers)
        terms, accuracy, batch_stats = played.made
        terms |= played.judged
        metrics = terms | {"L_total": total(terms, self.weights, state.step)} | accuracy | played.norms
        params = played.params | {"w": jax.tree.map(lambda w: jnp.clip(w, 0, 1), played.params["w"])}
        state = dataclasses.replace(
            state, step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=played.opt_state
        )
        return state, parallel.mean(metrics)

    @property
    def wanted(self) -> set[str]:
        """The images of `Generated` that terms need besides the crossed ones."""
        return {name for name, terms in OF_IMAGES.items() if terms & self.weights.keys()}

    def erased(self, key: Key, x: Pairs) -> Pairs:
        """Erases rectangles of generated images, each with a key of its own, by its place in the global batch."""
        erase = self.recipe.augment.erase
        if not erase.probability:
            return x
        flat = x.reshape(-1, *x.shape[2:])
        keys = augment.image_keys(key, parallel.first_position(len(flat)), len(flat))
        return augment.erase(keys, flat, erase.probability, tuple(erase.area), tuple(erase.aspect)).reshape(x.shape)

    # ---------------------------------------------------------------- the losses

    def discriminator_terms(self, params_D: dict, x: Pairs, made: Generated) -> dict[str, Array]:
        """Computes L_D and L_R1, each the sum over both discriminators.

        L_D is LSGAN's, summed over scales and over two generated images per real one, which counts twice.
        """
        terms = {}
        if "L_D" in self.weights:
            real = [self.D(params_D, i, x[:, i]) for i in range(len(JUDGES))]
            losses = [
                adversarial.discriminator_loss(real[i], self.D(params_D, i, fake), "lsgan") for i, fake in judged(made)
            ]
            terms["L_D"] = sum(losses, start=jnp.zeros(()))
        if "L_R1" in self.weights:
            penalties = [adversarial.r1_penalty(partial(self.D, params_D, i), x[:, i]) for i in range(len(JUDGES))]
            terms["L_R1"] = sum(penalties, start=jnp.zeros(()))
        return terms

    def D(self, params_D: dict, modality: int, x: Images) -> list[Array]:
        """Applies the discriminator of a modality, 0 RGB or 1 IR."""
        return call(self.discriminator, params_D[JUDGES[modality]], x)

    def generation_terms(
        self, params: dict, batch_stats: dict, params_D: dict, x: Pairs, made: Generated
    ) -> dict[str, Array]:
        """Computes the terms of generated images that have a weight; none of them moves a discriminator.

        Args:
            params: the parameters of all networks but the discriminators.
            batch_stats: their running statistics.
            params_D: those of the discriminators.
            x: the real pairs.
            made: what was generated from them with the same parameters.
        """
        own, terms = made.attributes, {}
        given = own._replace(identity=exchanged(own).identity)  # to the crossed images
        if made.rebuilt is not None:
            terms["L_same"] = both(x, made.rebuilt)
        if "L_cross" in self.weights:
            terms["L_cross"] = both(x, made.crossed)
        if "L_cycle" in self.weights:
            terms["L_cycle"] = both(x, self.generation.cycle(params, made))
        if "L_code" in self.weights:
            found, _ = self.generation.attributes(params, batch_stats, made.crossed)
            terms["L_code"] = both(given.e, found.e) + both(given.t, found.t)
        if "L_kl" in self.weights:
            terms["L_kl"] = len(MODALITIES) * jnp.mean(own.e**2)
        if "L_adv" in self.weights:
            losses = [adversarial.generator_loss(self.D(params_D, i, fake), "lsgan") for i, fake in judged(made)]
            terms["L_adv"] = sum(losses, start=jnp.zeros(())) / 2  # DG-Net doubles this loss, Hi-CMD does not
        return terms

    def recognition_terms(self, samples: Samples) -> dict[str, Array]:
        """Computes L_CE of this device's samples and L_trip, whose targets are those of the global batch."""
        terms = {}
        if "L_CE" in self.weights:
            logits = samples.logits.reshape(-1, self.classes)
            terms["L_CE"] = identity.cross_entropy(logits, samples.label.reshape(-1))
        if "L_trip" in self.weights:
            terms["L_trip"] = self.recognition.triplet_term(samples, self.config.margin)
        return terms

    # ---------------------------------------------------------------- what the trained system gives

    def feature_map(self, state: State, inputs: Images, modality: Int[Array, "n"]) -> FeatureMap:
        """Returns the last feature maps of HFL and, enlarged to their size, of E_t."""

        def maps(name: str) -> tuple[Array, Array]:
            p = call(self.generation.E_p, state.params[f"E_p_{name}"], inputs)
            return p, infer(self.generation.E_t, state.variables(f"E_t_{name}"), inputs, "feature_map")

        p, of_attributes = by_modality(maps, modality)
        of_prototypes = infer(self.recognition.trunk, state.variables("HFL"), p, "feature_map")
        height, width = of_prototypes.shape[1:3]
        return jnp.concatenate([of_prototypes, enlarged(of_attributes, height, width)], axis=-1)

    def features_of_map(
        self, state: State, feature_map: FeatureMap, modality: Int[Array, "n"]
    ) -> Float[Array, "n dim"]:
        """Computes f, or what `compares` names."""
        del modality
        channels = 4 * EXPANSION * self.config.networks.HFL.width  # of the last stage that HFL has
        pooled, code = jnp.split(jnp.mean(feature_map, axis=(1, 2)), (channels,), axis=1)
        attributes = Attributes.of(code)
        if self.compares == "f":
            return self.recognition.feature(state.params, state.batch_stats, pooled, attributes.t)
        return {"p": pooled, "t": attributes.t, "e": attributes.e}[self.compares]

    @property
    def controls(self) -> dict[str, Stage]:
        """The parts: prototypes and identity attributes, which recognition joins, and the excluded attributes."""
        return {part: dataclasses.replace(self, compares=part) for part in ("p", "t", "e")}

    @property
    def unused_after_training(self) -> tuple[str, ...]:
        """The discriminators and the head's last layers."""
        return (*JUDGES, "head/classifier", "head/triplet_layer")

    def parts(self, state: State, images: Images, modality: Int[Array, "n"]) -> tuple[Prototypes, Attributes]:
        """Takes images apart as at test time."""

        def encode(name: str) -> tuple[Array, Array]:
            p = call(self.generation.E_p, state.params[f"E_p_{name}"], images)
            return p, infer(self.generation.E_t, state.variables(f"E_t_{name}"), images)

        p, code = by_modality(encode, modality)
        return p, Attributes.of(code)

    def codes(self, state: State, images: Images) -> tuple[Float[Array, "n dim"], Float[Array, "n slices pose"]]:
        """Returns the pose as structure code s, and all else as appearance code a, with pooled prototypes.

        The modality of an image is guessed here, in `render` and in `interpolate`: grey images are infrared.
        """
        p, attributes = self.parts(state, images, guessed_modality(images))
        pooled = infer(self.recognition.trunk, state.variables("HFL"), p)
        illumination = attributes.illumination.reshape(len(p), -1)
        return jnp.concatenate([pooled, attributes.t, illumination], axis=1), attributes.pose

    def render(self, state: State, structure: Images, appearance: Images) -> Images:
        """Generates images with the pose of some images and all else of others, their modality included."""
        a, s = (self.parts(state, images, guessed_modality(images)) for images in (appearance, structure))
        return self.posed(state.params)(a, s[1].pose)

    def interpolate(
        self, state: State, structure: Images, start: Images, end: Images, steps: int
    ) -> Float[Array, "n steps height width 3"]:
        """Generates images with the pose of some images, from all else of others to that of others still."""
        s, first, last = (self.parts(state, images, guessed_modality(images)) for images in (structure, start, end))
        return rows(self.posed(state.params), between(first, last, steps), repeated(s[1].pose, steps))

    def pictures(self, state: State, images: Images) -> dict[str, UInt8[Array, "rows columns height width 3"]]:
        """Draws Figure 3 with the pose as structure, and `illuminated`: each illumination (row) with each image."""
        modality = (jnp.arange(len(images)) >= len(images) // 2).astype(jnp.int32)
        a = self.parts(state, images, modality)

        def illuminated(a, illumination):
            return self.generation.draw(state.params, a[0], a[1]._replace(illumination=illumination))

        grids = combinations(self.posed(state.params), a, a[1].pose)
        return grids | {"illuminated": swapped(illuminated, a, a[1].illumination)}

    def posed(self, params: dict) -> Callable[[tuple[Prototypes, Attributes], Array], Images]:
        """Returns the function that generates images from the parts of some images and the pose of others."""
        return lambda a, pose: self.generation.draw(params, a[0], a[1]._replace(pose=pose))


def judged(made: Generated) -> list[tuple[int, Images]]:
    """Returns the generated images that discriminators judge, with the modality that each should look like."""
    assert made.alternative is not None
    return [(i, images[:, i]) for i in range(len(JUDGES)) for images in (made.crossed, made.alternative)]


def both(x: Float[Array, "n 2 *shape"], y: Float[Array, "n 2 *shape"]) -> Float[Array, ""]:
    """Computes the l1 distance of both modalities, summed over them and averaged over all else."""
    return len(MODALITIES) * l1(x, y)


def enlarged(x: Float[Array, "n h w channels"], height: int, width: int) -> Float[Array, "n H W channels"]:
    """Repeats positions of a map, weighted so that the mean of every channel stays."""
    for axis, size in ((1, height), (2, width)):
        place = np.arange(size) * x.shape[axis] // size
        share = size / (x.shape[axis] * np.bincount(place)[place])
        x = jnp.take(x, place, axis=axis) * np.expand_dims(share.astype(np.float32), [0, *{1, 2, 3} - {axis}])
    return x


def _check_batch(batch: ConfigDict, negatives: str) -> None:
    if batch.parts > 1:
        raise UserError(f"Hi-CMD trains on whole batches; set config.batch.parts = 1, not {batch.parts}.")
    if negatives == "unpaired":
        check_thirds(batch.identities)
    else:
        check_identities(batch)
