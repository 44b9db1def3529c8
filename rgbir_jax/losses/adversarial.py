"""L_adv (section 3.3), computed from D's logits, one map per scale."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from rgbir_jax.lookup import choose

Maps = Sequence[Float[Array, "n _height _width 1"]]  # one map per scale; sizes differ


def _bce(logits: Float[Array, "*shape"], real: bool) -> Float[Array, ""]:
    return jnp.mean(optax.losses.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, real)))


def _least_squares(logits: Float[Array, "*shape"], real: bool) -> Float[Array, ""]:
    return jnp.mean((logits - real) ** 2)


# Loss of one map, and the factor of G's loss: DG-Net's released code doubles it.
GAMES = {"bce": (_bce, 1.0), "lsgan": (_least_squares, 2.0)}


def discriminator_loss(real: Maps, fake: Maps, kind: str) -> Float[Array, ""]:
    """Computes D's part of L_adv, averaged over each map and summed over scales.

    For "bce" it is −E[log D(x_1) + log(1 − D(G(a_2, s_1)))].

    Args:
        real: D's logits of real images, one map per scale.
        fake: D's logits of swapped images.
        kind: "bce" (the paper's equation) or "lsgan" (squared distance to 1 for real, to 0 for swapped).

    Raises:
        UserError: if the kind is unknown.
    """
    loss, _ = GAMES[choose(kind, GAMES, "adversarial loss")]
    return jnp.sum(jnp.stack([loss(r, True) + loss(f, False) for r, f in zip(real, fake, strict=True)]))


def generator_loss(fake: Maps, kind: str) -> Float[Array, ""]:
    """Computes G's part of L_adv, non-saturating: −E[log D(G(a_2, s_1))] for "bce", summed over scales.

    Arguments and errors are those of `discriminator_loss`. The loss of "lsgan" is doubled.
    """
    loss, factor = GAMES[choose(kind, GAMES, "adversarial loss")]
    return factor * jnp.sum(jnp.stack([loss(f, True) for f in fake]))


def r1_penalty(
    discriminator: Callable[[Float[Array, "n h w 3"]], Maps], x: Float[Array, "n h w 3"]
) -> Float[Array, ""]:
    """Computes R1 = Σ over scales of E‖∂ ΣD(x) / ∂x‖², which keeps D flat near real images (Mescheder et al. 2018)."""

    def squared_norms(scale: int):
        """Sums the squared gradient of one scale's logits. It needs only that scale's convolutions."""
        gradient = jax.grad(lambda x: jnp.sum(discriminator(x)[scale]))(x)
        return jnp.sum(gradient**2)

    scales = len(jax.eval_shape(discriminator, x))
    return sum(map(squared_norms, range(scales)), start=jnp.zeros(())) / len(x)
