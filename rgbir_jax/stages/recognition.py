"""The appearance encoder E_a with its identity head: shared by the teacher and the image-space system."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from rgbir_jax.models.appearance_encoder import AppearanceEncoder
from rgbir_jax.models.identity_head import IdentityHead
from rgbir_jax.training import parallel
from rgbir_jax.training.state import Network, variables


class Recognised(NamedTuple):
    """What E_a and its heads say of n images.

    Attributes:
        code: appearance codes a.
        features: the bottleneck after BatchNorm, which retrieval compares.
        logits: of the identity distribution p, by head.
    """

    code: Float[Array, "n 4 channels"]
    features: Float[Array, "n bottleneck"]
    logits: dict[str, Float[Array, "n classes"]]


@dataclass(frozen=True)
class Recogniser:
    """E_a and its identity heads, applied to variables that are passed in.

    Attributes:
        encoder: E_a.
        heads: by network name; the features are the first one's.
    """

    encoder: AppearanceEncoder
    heads: dict[str, IdentityHead]

    @classmethod
    def build(cls, config: ConfigDict, classes: int, dtype: str) -> "Recogniser":
        """From `config.E_a` and `config.head` (fields of the modules) and `config.heads` (network names)."""
        compute = {"dtype": jnp.dtype(dtype), "axis_name": parallel.AXIS}
        return cls(
            AppearanceEncoder(**config.E_a, **compute),
            {name: IdentityHead(classes, **config.head, **compute) for name in config.heads},
        )

    def networks(self, image_size: tuple[int, int]) -> dict[str, Network]:
        """E_a and the heads by name, with the shapes that they are called on."""
        x = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
        encoder = Network(self.encoder, (x,), {"train": False})
        _, (_, pooled) = encoder.shapes()
        return {"E_a": encoder} | {
            name: Network(head, (pooled,), {"train": False}) for name, head in self.heads.items()
        }

    def __call__(self, params: PyTree, batch_stats: PyTree, x: Float[Array, "n h w 3"]) -> Recognised:
        """As at test time: running statistics, no dropout."""
        code, pooled = self.encoder.apply(variables(params, batch_stats, "E_a"), x, train=False)
        said = {
            name: head.apply(variables(params, batch_stats, name), pooled, train=False)
            for name, head in self.heads.items()
        }
        return _recognised(code, said)

    def train(
        self,
        params: PyTree,
        batch_stats: PyTree,
        x: Float[Array, "n h w 3"],
        key: Array,
        *,
        erased: Float[Array, "n h w 3"] | None = None,
    ) -> tuple[Recognised, PyTree]:
        """As in training: statistics of this batch over all devices, dropout.

        Args:
            params: with the keys E_a and the heads' names.
            batch_stats: likewise.
            x: images; their codes are returned.
            key: for dropout.
            erased: the same images as the identity heads see them, if not `x` itself.

        Returns:
            What was recognised, and the new running statistics (to be dropped after generated images).
        """
        seen = x if erased is None else jnp.concatenate([x, erased])
        (code, pooled), updated = self.encoder.apply(
            variables(params, batch_stats, "E_a"), seen, train=True, mutable=["batch_stats"]
        )
        code, pooled = code[: len(x)], pooled[-len(x) :]
        said, statistics = {}, batch_stats | {"E_a": updated["batch_stats"]}
        for name, head_key in zip(self.heads, jax.random.split(key, len(self.heads)), strict=True):
            said[name], updated = self.heads[name].apply(
                variables(params, batch_stats, name),
                pooled,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": head_key},
            )
            statistics[name] = updated["batch_stats"]
        return _recognised(code, said), statistics


def _recognised(code, said: dict) -> Recognised:
    features, _ = next(iter(said.values()))
    return Recognised(code, features, {name: logits for name, (_, logits) in said.items()})
