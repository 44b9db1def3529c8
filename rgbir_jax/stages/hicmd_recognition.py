"""Hi-CMD's recognition (HFL): recognises people by prototypes and identity attributes, in real and generated images.

HFL learns from real images with erased rectangles, from erased copies of crossed images, which it cannot change, and
from mixtures: the prototype of one with the attributes of the other. It trains the encoders as well.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from rgbir_jax.errors import UserError
from rgbir_jax.lookup import construct
from rgbir_jax.losses.similarity import cosine_triplet
from rgbir_jax.models.attributes import Attributes
from rgbir_jax.models.hierarchical_head import HierarchicalHead, Mixture
from rgbir_jax.models.resnet import ResNet50
from rgbir_jax.models.two_stream import Stream
from rgbir_jax.stages.hicmd_generation import Pairs, PersonImageGeneration
from rgbir_jax.training import parallel
from rgbir_jax.training.state import Network, call, infer, variables

NEGATIVES = ("pairs", "unpaired")
SHARE = 3  # of so many identities, one gives pairs if negatives are unpaired


class Samples(NamedTuple):
    """What HFL makes of n pairs. Samples are those of one source and one modality, that of the image, of all pairs.

    Attributes:
        logits: of the identity distribution p.
        compared: directions that the triplet loss compares.
        label: identities.
        real: the number of sources that are real images: the pairs and, if there are any, negatives after them.
    """

    logits: Float[Array, "n sources 2 classes"]
    compared: Float[Array, "n sources 2 dim"]
    label: Int[Array, "n sources 2"]
    real: int


def sources(x: Array, negatives: str) -> Array:
    """Gives every image of a batch its part.

    Args:
        x: [identity, modality, shot, ...] of this device.
        negatives: "pairs", all identities give pairs, which are negatives of each other; or "unpaired", of every three
            identities the first gives pairs, the second RGB images and the third IR images without a partner.

    Returns:
        [n, source, modality, ...], with n pairs as the first source and n negatives of each modality as the second.

    Raises:
        UserError: for unpaired negatives, if the device's identities are no multiple of three.
    """
    by_shot = jnp.swapaxes(x, 1, 2)
    if negatives == "pairs":
        return by_shot.reshape(-1, 1, *by_shot.shape[2:])
    check_thirds(len(x))
    thirds = by_shot.reshape(-1, SHARE, *by_shot.shape[1:])
    unpaired = jnp.stack([thirds[:, 1, :, 0], thirds[:, 2, :, 1]], axis=2)
    both = jnp.stack([thirds[:, 0], unpaired], axis=2)
    return both.reshape(-1, *both.shape[2:])


def check_thirds(identities: int) -> None:
    """Refuses a number of identities that unpaired negatives cannot share.

    Raises:
        UserError: if it is no multiple of three.
    """
    if identities % SHARE:
        raise UserError(
            f'with negatives = "unpaired" every device needs a multiple of {SHARE} identities, not {identities}; '
            f"change config.batch.identities."
        )


@dataclass(frozen=True)
class HierarchicalRecognition:
    """The networks of HFL on top of the encoders.

    Attributes:
        generation: the encoders.
        trunk: the module on prototypes.
        mixture: joins pooled prototypes and identity attributes.
        head: recognises people by them.
    """

    generation: PersonImageGeneration
    trunk: Stream
    mixture: Mixture
    head: HierarchicalHead

    @classmethod
    def build(
        cls, generation: PersonImageGeneration, config: ConfigDict, classes: int, dtype: jnp.dtype, key: str
    ) -> "HierarchicalRecognition":
        """Makes the modules.

        Args:
            generation: the encoders.
            config: `HFL` and `head`, sections of fields.
            classes: the number of training identities.
            dtype: the dtype of the convolutions.
            key: the config key of the networks, for messages.
        """
        compute = {"dtype": dtype, "axis_name": parallel.AXIS}
        trunk = construct(ResNet50, config.HFL, f"{key}.HFL", stages=(2, 3), **compute)
        head = construct(HierarchicalHead, config.head, f"{key}.head", classes=classes, **compute)
        return cls(generation, Stream(trunk), Mixture(), head)

    def networks(self, encoders: dict[str, Network]) -> dict[str, Network]:
        """Returns the networks by name, with the shapes that they are called on."""
        (_, p), (_, code) = encoders["E_p_rgb"].shapes(), encoders["E_t_rgb"].shapes()
        trunk = Network(self.trunk, (p,), {"train": False})
        t = jax.eval_shape(lambda code: Attributes.of(code).t, code)
        mixture = Network(self.mixture, (trunk.shapes()[1], t))
        head = Network(self.head, (mixture.shapes()[1],), {"train": False})
        return {"HFL": trunk, "w": mixture, "head": head}

    def train(
        self,
        params: PyTree,
        batch_stats: PyTree,
        real: Float[Array, "n real 2 height width 3"],
        crossed: Pairs,
        label: Int[Array, "n real 2"],
        key: Array,
    ) -> tuple[Samples, PyTree]:
        """Applies the encoders and HFL as in training. Generated images and mixtures move no running statistics.

        Args:
            params: the parameters of all these networks.
            batch_stats: their running statistics.
            real: real images as `sources` orders them, with rectangles erased.
            crossed: the crossed images of the pairs, held constant, with rectangles erased.
            label: the identities of the real images.
            key: the key of dropout.

        Returns:
            The samples of all sources: real ones, crossed images, prototypes of the pairs with attributes of the
            crossed images and the reverse; and the new running statistics, without those of the attribute encoders.
        """
        n, count = label.shape[:2]
        (p, t), statistics = self.encode(params, batch_stats, real.reshape(-1, *real.shape[2:]))
        (p_crossed, t_crossed), _ = self.encode(params, batch_stats, crossed)
        p, t = (x.reshape(n, count, *x.shape[1:]) for x in (p, t))
        p_mixed = jnp.stack([p_crossed, p[:, 0], p_crossed], axis=1)
        t_mixed = jnp.stack([t_crossed, t_crossed, t[:, 0]], axis=1)

        keys = jax.random.split(key)
        (logits, compared), updated = self.recognise(params, batch_stats, p, t, keys[0])
        (of_mixed, compared_mixed), _ = self.recognise(params, batch_stats, p_mixed, t_mixed, keys[1])
        labels = jnp.concatenate([label, jnp.repeat(label[:, :1], p_mixed.shape[1], axis=1)], axis=1)
        samples = Samples(
            jnp.concatenate([logits, of_mixed], axis=1),
            jnp.concatenate([compared, compared_mixed], axis=1),
            labels,
            count,
        )
        return samples, statistics | updated

    def encode(
        self, params: PyTree, batch_stats: PyTree, x: Pairs
    ) -> tuple[tuple[Float[Array, "n 2 pooled"], Float[Array, "n 2 t"]], PyTree]:
        """Returns pooled prototypes and identity attributes, and HFL's new running statistics."""
        p = self.generation.prototypes(params, x)
        attributes, _ = self.generation.attributes(params, batch_stats, x)
        pooled, updated = self.trunk.apply(
            variables(params, batch_stats, "HFL"), p.reshape(-1, *p.shape[2:]), train=True, mutable=["batch_stats"]
        )
        return (pooled.reshape(*p.shape[:2], -1), attributes.t), batch_stats | {"HFL": updated["batch_stats"]}

    def recognise(
        self,
        params: PyTree,
        batch_stats: PyTree,
        p: Float[Array, "n sources 2 pooled"],
        t: Float[Array, "n sources 2 t"],
        key: Array,
    ) -> tuple[tuple[Float[Array, "n sources 2 classes"], Float[Array, "n sources 2 dim"]], PyTree]:
        """Returns logits and compared directions, and the head's new running statistics."""
        z = call(self.mixture, params["w"], p, t)
        (_, logits, compared), updated = self.head.apply(
            variables(params, batch_stats, "head"),
            z.reshape(-1, z.shape[-1]),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        outputs = logits.reshape(*z.shape[:3], -1), compared.reshape(*z.shape[:3], -1)
        return outputs, {"head": updated["batch_stats"]}

    def triplet_term(self, samples: Samples, margin: float) -> Float[Array, ""]:
        """Computes L_trip: pivots are all but negatives, those of either modality apart; targets are all samples."""
        y = samples.label.reshape(-1)
        targets = parallel.gather(samples.compared.reshape(len(y), -1)), parallel.gather(y)
        pivots = [source for source in range(samples.label.shape[1]) if not 0 < source < samples.real]
        terms = []
        for modality in range(2):
            compared = samples.compared[:, pivots, modality]
            label = samples.label[:, pivots, modality].reshape(-1)
            terms.append(jnp.mean(cosine_triplet(compared.reshape(len(label), -1), label, *targets, margin)))
        return jnp.sum(jnp.stack(terms))

    def feature(self, params: PyTree, batch_stats: PyTree, pooled: Array, t: Array) -> Float[Array, "n dim"]:
        """Computes f, which retrieval compares, as at test time."""
        z = call(self.mixture, params["w"], pooled, t)
        f, _, _ = infer(self.head, variables(params, batch_stats, "head"), z)
        return f
