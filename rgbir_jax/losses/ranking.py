"""Ranking losses: M_bdtr's top-ranking loss and the triplet loss on s (section 4.1), and losses of labelled rows.

For the first two, a batch is one array per modality, [identity, shot, dim], whose identities are all different. The
batch-hard triplet loss and those of AGW and CAJ take rows [n, dim] with their labels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rgbir_jax.errors import UserError

LARGEST_SQUARE = 88.0  # its exponential is finite in float32


class Triplets(NamedTuple):
    """X_2 and X_3 for every RGB anchor X_1, as indices into the IR images flattened to [identity · shot].

    Attributes:
        positive: X_2, an image of the anchor's identity.
        negative: X_3, an image of another identity.
    """

    positive: Int[Array, "identity shot"]
    negative: Int[Array, "identity shot"]


def euclidean(x: Float[Array, "*x dim"], y: Float[Array, "*y dim"]) -> Float[Array, "*xy"]:
    """Computes ‖x − y‖₂ of all broadcast pairs, with gradient 0 at x = y."""
    squared = jnp.sum((x - y) ** 2, axis=-1)
    nonzero = squared > 0
    return jnp.where(nonzero, jnp.sqrt(jnp.where(nonzero, squared, 1)), 0)


def manhattan(x: Float[Array, "*x dim"], y: Float[Array, "*y dim"]) -> Float[Array, "*xy"]:
    """Computes ‖x − y‖₁ (summed over dimensions) of all broadcast pairs, with gradient 0 at x = y."""
    # Not jnp.abs: its derivative at 0 is 1, that of this maximum is 0.
    return jnp.sum(jnp.maximum(x - y, y - x), axis=-1)


def bdtr(
    v: Float[Array, "identity shot dim"],
    t: Float[Array, "identity shot dim"],
    *,
    m1: float = 0.5,
    m2: float = 0.1,
    intra: float = 0.1,
) -> Float[Array, ""]:
    """Computes the bi-directional dual-constrained top-ranking loss: `top_ranking` with RGB and with IR anchors.

    Args:
        v: RGB features; they are scaled to unit length.
        t: IR features, scaled too; v[i, k] and t[i, k] are a positive pair.
        m1: margin between the positive and the hardest negative.
        m2: margin between the hardest negative and the positive within a modality.
        intra: weight of the intra-modality term.

    Returns:
        The mean of the cross-modality term plus `intra` times the mean of the intra-modality term, summed over both
        directions.

    Raises:
        UserError: if there is only one identity, and so no negative.
    """
    v, t = _unit(v), _unit(t)
    terms = [top_ranking(v, t, m1, m2), top_ranking(t, v, m1, m2)]
    return sum((jnp.mean(cross) + intra * jnp.mean(within) for cross, within in terms), start=jnp.zeros((), v.dtype))


def top_ranking(
    anchor: Float[Array, "identity shot dim"], other: Float[Array, "identity shot dim"], m1: float, m2: float
) -> tuple[Float[Array, "identity shot"], Float[Array, "identity shot"]]:
    """Computes one direction of the top-ranking loss for every anchor a_i.

    h_i, the hardest negative, is the image nearest to a_i in the other modality among those of other identities.

    Args:
        anchor: unit vectors of one modality, a.
        other: unit vectors of the other modality, o.
        m1: cross-modality margin, as in `bdtr`.
        m2: intra-modality margin, as in `bdtr`.

    Returns:
        max(0, m1 + d(a_i, o_i) − d(a_i, h_i)) and max(0, m2 − d(h_i, o_i)).
    """
    # The nearest unit vector has the largest inner product. Lower precision could pick another one.
    similarity = jnp.einsum("ikd,jld->ikjl", anchor, other, precision="highest")
    hardest = _argmax(jnp.where(_same(len(anchor)), -jnp.inf, similarity))
    h = other.reshape(-1, other.shape[-1])[hardest]
    cross = jax.nn.relu(m1 + euclidean(anchor, other) - euclidean(anchor, h))
    return cross, jax.nn.relu(m2 - euclidean(h, other))


def triplet(
    s_1: Float[Array, "n dim"], s_2: Float[Array, "n dim"], s_3: Float[Array, "n dim"], m: float
) -> Float[Array, "n"]:
    """Computes L_triplet of each triplet: max(0, m + ‖s_1 − s_2‖₁ − ‖s_1 − s_3‖₁)."""
    return jax.nn.relu(m + manhattan(s_1, s_2) - manhattan(s_1, s_3))


def batch_hard_triplet(
    x: Float[Array, "n dim"],
    y: Int[Array, "n"],
    others: Float[Array, "m dim"],
    y_others: Int[Array, "m"],
    margin: float,
) -> Float[Array, "n"]:
    """Computes L_triplet of each anchor: max(0, m + max_p ‖x − x_p‖₂ − min_q ‖x − x_q‖₂).

    The farthest image x_p of its identity and the nearest image x_q of another one are found in the batch.

    Args:
        x: the anchors.
        y: their identities.
        others: the batch, with the anchors themselves. Each anchor needs an image of another identity in it.
        y_others: its identities.
        margin: m.
    """
    distance = euclidean(x[:, None], others)
    same = y[:, None] == y_others
    farthest = others[jnp.argmax(jnp.where(same, distance, -1), axis=1)]
    nearest = others[jnp.argmin(jnp.where(same, jnp.inf, distance), axis=1)]
    return jax.nn.relu(margin + euclidean(x, farthest) - euclidean(x, nearest))


def weighted_regularised(
    x: Float[Array, "n dim"],
    y: Int[Array, "n"],
    others: Float[Array, "m dim"],
    y_others: Int[Array, "m"],
    epsilon: float,
) -> Float[Array, "n"]:
    """Computes AGW's L_wrt of each anchor: log(1 + exp(f − c)), f and c as in `weighted_distances`."""
    farthest, nearest = weighted_distances(x, y, others, y_others, epsilon)
    return jax.nn.softplus(farthest - nearest)


def squared_difference(
    x: Float[Array, "n dim"],
    y: Int[Array, "n"],
    others: Float[Array, "m dim"],
    y_others: Int[Array, "m"],
    epsilon: float,
) -> Float[Array, "n"]:
    """Computes CAJ's L_esd of each anchor: log(1 + exp(±q)), q = min((f − c)², 88), f and c as in `weighted_distances`.

    The sign is − if c >= f. With f − c above √88 or f = c, the gradient is 0, as in the published loss.
    """
    farthest, nearest = weighted_distances(x, y, others, y_others, epsilon)
    squared = jnp.minimum((farthest - nearest) ** 2, LARGEST_SQUARE)
    return jax.nn.softplus(jnp.where(nearest >= farthest, -squared, squared))


def weighted_distances(
    x: Float[Array, "n dim"],
    y: Int[Array, "n"],
    others: Float[Array, "m dim"],
    y_others: Int[Array, "m"],
    epsilon: float,
) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    """Computes smooth versions of each anchor's farthest distance to its identity and nearest to another one.

    f = Σ w d over images of the anchor's identity, w the softmax of d; c = Σ w d over all others, w the softmax of −d.
    The gradient passes through the weights as well.

    Args:
        x: the anchors; their lengths matter.
        y: their identities.
        others: the batch, with the anchors themselves. Each anchor needs an image of another identity in it.
        y_others: its identities.
        epsilon: added to the sums Σ exp(d − max d) and Σ exp(−d) by which the weights are divided, as in AGW's released
            code. Where all exp(−d) are smaller, c is near 0, so distances far above −log ε are costly. 0 for exact
            weights.

    Returns:
        f and c.
    """
    distance = euclidean(x[:, None], others)
    same = y[:, None] == y_others

    def mean_distance(score: Array, chosen: Array, shift: Array) -> Array:
        # The inner where keeps exp of what is not chosen, which may overflow, out of the gradient.
        weight = jnp.where(chosen, jnp.exp(jnp.where(chosen, score - shift, 0)), 0)
        return jnp.sum(weight * distance, axis=1) / (jnp.sum(weight, axis=1) + epsilon)

    def largest(score: Array, chosen: Array) -> Array:
        place = jnp.argmax(jnp.where(chosen, score, -jnp.inf), axis=1, keepdims=True)
        return jnp.take_along_axis(score, place, axis=1)

    shift = jnp.zeros((), distance.dtype) if epsilon else largest(-distance, ~same)
    return mean_distance(distance, same, largest(distance, same)), mean_distance(-distance, ~same, shift)


def random_triplets(key: Array, identities: int, shots: int) -> Triplets:
    """Draws for every anchor an image of its identity and an image of another identity, both uniformly.

    Args:
        key: the iteration's key, the same on every device.
        identities: number of identities in the global batch, at least 2.
        shots: number of images per identity and modality.

    Raises:
        UserError: if there is only one identity, and so no negative.
    """
    same = jnp.broadcast_to(_same(identities), (identities, shots, identities, shots))
    keys = jax.random.split(key)
    scores = jax.vmap(lambda k: jax.random.uniform(k, same.shape))(keys)
    return Triplets(_argmax(jnp.where(same, scores[0], -1)), _argmax(jnp.where(same, -1, scores[1])))


def hard_triplets(s_rgb: Float[Array, "identity shot dim"], s_ir: Float[Array, "identity shot dim"]) -> Triplets:
    """Finds for every anchor the farthest image of its identity and the nearest of all others, by ‖·‖₁ on codes s.

    Raises:
        UserError: if there is only one identity, and so no negative.
    """
    distance = manhattan(s_rgb[:, :, None, None], s_ir)
    same = _same(len(s_rgb))
    return Triplets(_argmax(jnp.where(same, distance, -1)), _argmax(jnp.where(same, -jnp.inf, -distance)))


def _same(identities: int) -> Bool[Array, "identity 1 identity 1"]:
    if identities < 2:
        raise UserError("a batch of one identity has no negatives; set config.batch.identities >= 2.")
    return jnp.eye(identities, dtype=bool)[:, None, :, None]


def _argmax(score: Float[Array, "identity shot candidates candidate_shots"]) -> Int[Array, "identity shot"]:
    return jnp.argmax(score.reshape(*score.shape[:2], -1), axis=-1)


def _unit(x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    length = euclidean(x, jnp.zeros_like(x))
    return x / jnp.maximum(length, 1e-12)[..., None]
