"""Hi-CMD's generation (ID-PIG): takes pairs of images apart and draws them again with exchanged parts.

In an array [n, 2, ...] of n pairs, the second axis is the modality, 0 RGB and 1 IR; both images of a pair show one
person. p are prototypes, t and e the attributes that identify a person and those that do not.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.lookup import construct
from rgbir_jax.models.attributes import Attributes
from rgbir_jax.models.generator import Generator
from rgbir_jax.models.resnet import ResNet50
from rgbir_jax.models.structure_encoder import ResidualEncoder
from rgbir_jax.models.two_stream import Stream
from rgbir_jax.training import parallel
from rgbir_jax.training.state import Network, call, variables

Pairs = Float[Array, "n 2 height width 3"]
Prototypes = Float[Array, "*n h w code"]


def rectified(x: Array) -> Array:
    """Applies LeakyReLU with slope 0.3 below zero, as in all of Hi-CMD's networks but its ResNets."""
    return nn.leaky_relu(x, 0.3)


class Generated(NamedTuple):
    """What is made of pairs (a, b) of an RGB and an IR image; gradients flow back through all of it.

    Images are at the place of the image that they should look like: a, then b. Those that no term needs are None.

    Attributes:
        attributes: those of the pairs.
        rebuilt: G(p_a, t_b, e_a) and G(p_b, t_a, e_b).
        crossed: x_ba = G(p_b, t_b, e_a) and x_ab = G(p_a, t_a, e_b).
        alternative: x'_ba = G(p_b, t_b, pose of b, illumination of a), and x'_ab.
    """

    attributes: Attributes
    rebuilt: Pairs | None
    crossed: Pairs
    alternative: Pairs | None


@dataclass(frozen=True)
class PersonImageGeneration:
    """The encoders of each modality, and the generator that both share.

    Attributes:
        E_p: the module of both prototype encoders.
        E_t: the module of both attribute encoders.
        generator: G.
    """

    E_p: ResidualEncoder
    E_t: Stream
    generator: Generator

    @classmethod
    def build(cls, config: ConfigDict, dtype: jnp.dtype, key: str) -> "PersonImageGeneration":
        """Makes the modules.

        Args:
            config: `E_p`, `E_t` and `G`, sections of fields.
            dtype: the dtype of the convolutions.
            key: the config key of the networks, for messages.
        """
        E_p = construct(ResidualEncoder, config.E_p, f"{key}.E_p", dtype=dtype, activation=rectified)
        E_t = construct(ResNet50, config.E_t, f"{key}.E_t", dtype=dtype, axis_name=parallel.AXIS)
        G = construct(Generator, config.G, f"{key}.G", width=config.E_p.code, dtype=dtype, activation=rectified)
        return cls(E_p, Stream(E_t), G)

    def networks(self, image: jax.ShapeDtypeStruct) -> dict[str, Network]:
        """Returns the encoders of both modalities and G by name, with the shapes that they are called on."""
        networks = {f"E_p_{modality}": Network(self.E_p, (image,)) for modality in MODALITIES}
        networks |= {f"E_t_{modality}": Network(self.E_t, (image,), {"train": False}) for modality in MODALITIES}
        (_, p), (_, code) = networks["E_p_rgb"].shapes(), networks["E_t_rgb"].shapes()
        slices = jax.eval_shape(lambda code: Attributes.of(code).slices, code)
        return networks | {"G": Network(self.generator, (slices, p))}

    def prototypes(self, params: PyTree, x: Pairs) -> Float[Array, "n 2 h w code"]:
        """Encodes images as prototypes p."""
        return jnp.stack([call(self.E_p, params[f"E_p_{name}"], x[:, i]) for i, name in enumerate(MODALITIES)], axis=1)

    def attributes(self, params: PyTree, batch_stats: PyTree, x: Pairs) -> tuple[Attributes, PyTree]:
        """Encodes images as attributes with the statistics of this batch.

        Returns:
            The attributes, and all running statistics with new ones of the attribute encoders, to be dropped unless the
            images are real and whole.
        """
        codes, statistics = [], dict(batch_stats)
        for i, modality in enumerate(MODALITIES):
            name = f"E_t_{modality}"
            code, updated = self.E_t.apply(
                variables(params, batch_stats, name), x[:, i], train=True, mutable=["batch_stats"]
            )
            codes.append(code)
            statistics[name] = updated["batch_stats"]
        return Attributes.of(jnp.stack(codes, axis=1)), statistics

    def draw(self, params: PyTree, p: Prototypes, attributes: Attributes) -> Float[Array, "*n height width 3"]:
        """Generates images from prototypes and attributes."""
        slices, batch = attributes.slices, p.shape[:-3]
        a, s = slices.reshape(-1, *slices.shape[-2:]), p.reshape(-1, *p.shape[-3:])
        x = call(self.generator, params["G"], a, s)
        return x.reshape(*batch, *x.shape[1:])

    def generate(
        self, params: PyTree, batch_stats: PyTree, x: Pairs, wanted: Collection[str]
    ) -> tuple[Generated, PyTree]:
        """Takes real pairs apart and draws new images, in one pass of G.

        Args:
            params: the parameters of all encoders and G.
            batch_stats: their running statistics.
            x: real images.
            wanted: names of the images of `Generated` to make besides `crossed`.

        Returns:
            What was made, and the new running statistics.
        """
        p = self.prototypes(params, x)
        own, batch_stats = self.attributes(params, batch_stats, x)
        p_other, other = exchanged(p), exchanged(own)
        inputs = {
            "rebuilt": (p, own._replace(identity=other.identity)),
            "crossed": (p_other, own._replace(identity=other.identity)),
            "alternative": (p_other, other._replace(illumination=own.illumination)),
        }
        names = [name for name in inputs if name in {"crossed", *wanted}]
        prototypes, attributes = jax.tree.map(lambda *parts: jnp.stack(parts), *(inputs[name] for name in names))
        images = dict(zip(names, self.draw(params, prototypes, attributes), strict=True))
        return Generated(own, images.get("rebuilt"), images["crossed"], images.get("alternative")), batch_stats

    def cycle(self, params: PyTree, generated: Generated) -> Pairs:
        """Draws the pairs once more, with prototypes of the crossed images and the attributes that these were given."""
        p, own = self.prototypes(params, generated.crossed), generated.attributes
        return self.draw(params, exchanged(p), own._replace(identity=exchanged(own).identity))


def exchanged(tree: PyTree) -> PyTree:
    """Puts what belongs to one image of each pair [n, 2, ...] at the place of the other one."""
    return jax.tree.map(lambda x: x[:, ::-1], tree)
