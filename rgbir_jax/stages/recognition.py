"""The recogniser: the appearance encoder E_a with its identity heads, shared by the teacher and the image system."""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from rgbir_jax.lookup import choose, find
from rgbir_jax.models.appearance_encoder import POOLS, SLICINGS, AppearanceEncoder
from rgbir_jax.models.identity_head import IdentityHead
from rgbir_jax.models.layers import unit
from rgbir_jax.models.resnet import ResNet50
from rgbir_jax.training import parallel
from rgbir_jax.training.state import Network, variables

BACKBONES: dict[str, type[nn.Module]] = {"resnet50": ResNet50}
LATER_HEADS = 0.5  # weight of every head's feature after the first one's (preset `dgnet`)


class Recognised(NamedTuple):
    """What E_a and its heads compute from n images.

    Attributes:
        code: appearance codes a.
        features: bottlenecks after BatchNorm, by head.
        logits: logits of the identity distribution p, by head.
    """

    code: Float[Array, "n slices channels"]
    features: dict[str, Float[Array, "n bottleneck"]]
    logits: dict[str, Float[Array, "n classes"]]

    def retrieval_feature(self) -> Float[Array, "n dim"]:
        """Returns phi(x), which retrieval compares: the bottlenecks of all heads, concatenated."""
        return jnp.concatenate(list(self.features.values()), axis=1)


@dataclass(frozen=True)
class Recogniser:
    """E_a and its identity heads, applied to variables that are passed in.

    Attributes:
        encoder: E_a.
        heads: the heads by network name.
    """

    encoder: AppearanceEncoder
    heads: dict[str, IdentityHead]

    @classmethod
    def build(cls, config: ConfigDict, classes: int, dtype: str, key: str) -> "Recogniser":
        """Makes the modules.

        Args:
            config: `E_a` (`kind`, a name in `BACKBONES` or "package.module:Class"; `slices`, `pool`; all else are
                fields of the backbone) and `heads` (names of heads, each with a section of fields).
            classes: the number of training identities.
            dtype: the dtype of the convolutions.
            key: the config key of the networks, for messages.

        Raises:
            UserError: for an unknown backbone, slicing or pooling.
        """
        compute = {"dtype": jnp.dtype(dtype), "axis_name": parallel.AXIS}
        fields = config.E_a.to_dict()
        backbone = find(fields.pop("kind"), BACKBONES, nn.Module, f"{key}.E_a.kind")
        slices = choose(fields.pop("slices"), SLICINGS, f"{key}.E_a.slices")
        pool = choose(fields.pop("pool"), POOLS, f"{key}.E_a.pool")
        return cls(
            AppearanceEncoder(backbone(**fields, **compute), slices, pool),
            {name: IdentityHead(classes, **config[name], **compute) for name in config.heads},
        )

    def networks(self, image: jax.ShapeDtypeStruct) -> dict[str, Network]:
        """Returns E_a and the heads by name, with the shapes that they are called on."""
        encoder = Network(self.encoder, (image,), {"train": False})
        _, (_, pooled) = encoder.shapes()
        return {"E_a": encoder} | {
            name: Network(head, (pooled,), {"train": False}) for name, head in self.heads.items()
        }

    def normalise(self, features: Float[Array, "n dim"]) -> Float[Array, "n dim"]:
        """Scales retrieval features to unit length: each head's first, then the weighted whole."""
        first, *others = jnp.split(features, np.cumsum([head.bottleneck for head in self.heads.values()])[:-1], axis=1)
        return unit(jnp.concatenate([unit(first), *(LATER_HEADS * unit(other) for other in others)], axis=1))

    def __call__(self, params: PyTree, batch_stats: PyTree, x: Float[Array, "n h w 3"]) -> Recognised:
        """Applies E_a and the heads as at test time: running statistics, no dropout."""
        code, pooled = self.encoder.apply(variables(params, batch_stats, "E_a"), x, train=False)
        outputs = {
            name: head.apply(variables(params, batch_stats, name), pooled, train=False)
            for name, head in self.heads.items()
        }
        return _recognised(code, outputs)

    def train(
        self,
        params: PyTree,
        batch_stats: PyTree,
        x: Float[Array, "n h w 3"],
        key: Array | None,
        *,
        erased: Float[Array, "n h w 3"] | None = None,
    ) -> tuple[Recognised, PyTree]:
        """Applies E_a and the heads as in training: statistics of this batch over all devices, dropout.

        Args:
            params: the parameters of E_a and the heads.
            batch_stats: their running statistics.
            x: images; their codes are returned.
            key: the key of dropout; None for no dropout, as for a network that only judges.
            erased: the same images as the identity heads see them, if not `x` itself.

        Returns:
            What was recognised, and the new running statistics (to be dropped after generated images).
        """
        inputs = x if erased is None else jnp.concatenate([x, erased])
        (code, pooled), updated = self.encoder.apply(
            variables(params, batch_stats, "E_a"), inputs, train=True, mutable=["batch_stats"]
        )
        code, pooled = code[: len(x)], pooled[-len(x) :]
        outputs, statistics = {}, batch_stats | {"E_a": updated["batch_stats"]}
        for i, (name, head) in enumerate(self.heads.items()):
            outputs[name], updated = (head.clone(dropout=0.0) if key is None else head).apply(
                variables(params, batch_stats, name),
                pooled,
                train=True,
                mutable=["batch_stats"],
                rngs=None if key is None else {"dropout": jax.random.split(key, len(self.heads))[i]},
            )
            statistics[name] = updated["batch_stats"]
        return _recognised(code, outputs), statistics


def _recognised(code, outputs: dict) -> Recognised:
    return Recognised(
        code,
        {name: features for name, (features, _) in outputs.items()},
        {name: logits for name, (_, logits) in outputs.items()},
    )
