"""DEEN's losses on expanded embeddings: they bring the modalities together and stay apart from each other."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgbir_jax.losses.ranking import euclidean


def pair_mining(
    v: Float[Array, "identity dim"],
    t: Float[Array, "identity dim"],
    v_expanded: Float[Array, "identity dim"],
    t_expanded: Float[Array, "identity dim"],
    margin: float,
) -> Float[Array, ""]:
    """Computes the centre-guided pair-mining loss of one expansion.

    With h(p, q) = E[max(0, p − q + margin)] and n(c), the distance of each centre to the nearest one of another
    identity, it is the mean of two sums, of which this is the first: h(d(t, v'), d(v, v')) + ½ h(d(t, v'), n(v')) +
    ½ h(d(t, v'), n(v)). The gradient of d(v, v') is stopped. In the second, v and t are exchanged.

    Args:
        v: the mean RGB embedding of each identity.
        t: the mean IR embedding of each identity.
        v_expanded: v', the mean expansion of the RGB embeddings.
        t_expanded: t', the mean expansion of the IR embeddings.
        margin: the margin.
    """

    def one_way(own, other, expanded):
        across = euclidean(other, expanded)
        within = jax.lax.stop_gradient(euclidean(own, expanded))
        hinges = [jax.nn.relu(across - far + margin) for far in (within, _to_nearest(expanded), _to_nearest(own))]
        return jnp.mean(hinges[0] + (hinges[1] + hinges[2]) / 2)

    return (one_way(v, t, v_expanded) + one_way(t, v, t_expanded)) / 2


def overlap(first: Float[Array, "n dim"], second: Float[Array, "n dim"]) -> Float[Array, ""]:
    """Sums the inner products of two expansions of each image, over three times the number of images."""
    return jnp.sum(first * second) / (3 * len(first))


def _to_nearest(centres: Float[Array, "identity dim"]) -> Float[Array, "identity"]:
    """Returns the distance of each centre to the nearest other one."""
    itself = jnp.eye(len(centres), dtype=bool)
    nearest = jnp.argmin(jnp.where(itself, jnp.inf, euclidean(centres[:, None], centres)), axis=1)
    return euclidean(centres, centres[nearest])
