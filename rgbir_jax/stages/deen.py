"""Stage `deen`: DEEN, a two-stem network whose body expands each embedding to three."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from rgbir_jax.losses import expansion
from rgbir_jax.models.deen import EXPANSIONS, ExpandedBody
from rgbir_jax.models.resnet import ResNet50
from rgbir_jax.stages.two_stem import RANKINGS, TwoStem
from rgbir_jax.training import parallel


@dataclass(frozen=True, eq=False)
class Deen(TwoStem):
    """A two-stem system with DEEN's body and its two losses. All three embeddings of an image share one neck."""

    read_late = (*TwoStem.read_late, "pair_margin")

    @classmethod
    def make_body(cls, config: ConfigDict, name: str, trunk: ResNet50) -> ExpandedBody:
        """Makes DEEN's body."""
        del name
        return ExpandedBody(trunk, config.networks.dropout, trunk.axis_name, trunk.dtype)

    @classmethod
    def neck_names(cls, vectors: int) -> list[str]:
        """Names the one neck."""
        del vectors
        return ["neck"]

    @classmethod
    def known_terms(cls) -> list[str]:
        """Returns the symbols of all terms."""
        return ["L_id", *RANKINGS, "L_cpm", "L_ort"]

    def terms(
        self,
        pooled: Float[Array, "identity image vector dim"],
        logits: dict[str, Float[Array, "rows classes"]],
        label: Int[Array, "identity"],
    ) -> dict[str, Array]:
        """Computes the terms of `TwoStem` on all embeddings, and L_cpm and L_ort on the expansions."""
        terms = super().terms(pooled, logits, label)
        shots = self.recipe.batch.shots
        if "L_cpm" in self.weights:
            v, t = (parallel.gather(x.mean(1)) for x in (pooled[:, :-shots], pooled[:, -shots:]))
            mined = [
                expansion.pair_mining(v[:, 0], t[:, 0], v[:, i], t[:, i], self.config.pair_margin)
                for i in range(1, 1 + EXPANSIONS)
            ]
            terms["L_cpm"] = jnp.sum(jnp.stack(mined))
        if "L_ort" in self.weights:
            first, second = (pooled[:, :, i].reshape(-1, pooled.shape[-1]) for i in range(1, 1 + EXPANSIONS))
            terms["L_ort"] = expansion.overlap(first, second)
        return terms
