"""Hi-CMD's triplet loss, on cosine similarities."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cosine_triplet(
    pivots: Float[Array, "n dim"],
    y: Int[Array, "n"],
    targets: Float[Array, "m dim"],
    y_targets: Int[Array, "m"],
    margin: float,
) -> Float[Array, "n"]:
    """Computes max(0, n + margin − q) + (1 + n)² + (1 − q)² of each pivot.

    n is its highest similarity to a target of another identity, q the lowest to one of its own. The squares draw n to
    −1 and q to 1.

    Args:
        pivots: unit vectors.
        y: their identities.
        targets: unit vectors. Each pivot needs one of its identity and one of another one.
        y_targets: their identities.
        margin: the margin between n and q.
    """
    similarity = jnp.einsum("nd,md->nm", pivots, targets, precision="highest")
    same = y[:, None] == y_targets
    # Not jnp.max and jnp.min: their gradients divide by how often the value occurs, 0 if XLA rounds it in another way.
    other = jnp.argmax(jnp.where(same, -jnp.inf, similarity), axis=1)
    own = jnp.argmin(jnp.where(same, similarity, jnp.inf), axis=1)
    n, q = (jnp.take_along_axis(similarity, place[:, None], axis=1)[:, 0] for place in (other, own))
    return jax.nn.relu(n + margin - q) + (1 + n) ** 2 + (1 - q) ** 2
