"""L_adv (section 3.3): what D and G play for, on D's logits, one map per scale."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

Maps = Sequence[Float[Array, "n _height _width 1"]]  # a scale each, of its own size


def _bce(logits: Float[Array, "*shape"], real: bool) -> Float[Array, ""]:
    return jnp.mean(optax.losses.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, real)))


def _least_squares(logits: Float[Array, "*shape"], real: bool) -> Float[Array, ""]:
    return jnp.mean((logits - real) ** 2)


# Loss of one map, and the factor on G's side: the released DG-Net doubles it.
_GAMES = {"bce": (_bce, 1.0), "lsgan": (_least_squares, 2.0)}


def _game(kind: str) -> tuple[Callable, float]:
    if kind not in _GAMES:
        raise ValueError(f'adversarial loss "{kind}" is unknown; choose one of {", ".join(_GAMES)}.')
    return _GAMES[kind]


def discriminator_loss(real: Maps, fake: Maps, kind: str) -> Float[Array, ""]:
    """D's side of L_adv: −E[log D(x_1) + log(1 − D(G(a_2, s_1)))] for "bce", averaged over a map, summed over scales.

    Args:
        real: D's logits of real images, one map a scale.
        fake: D's logits of swapped images.
        kind: "bce" (the paper's equation) or "lsgan" (squared distance from 1 and from 0).

    Raises:
        ValueError: for another kind.
    """
    loss, _ = _game(kind)
    return jnp.sum(jnp.stack([loss(r, True) + loss(f, False) for r, f in zip(real, fake, strict=True)]))


def generator_loss(fake: Maps, kind: str) -> Float[Array, ""]:
    """G's side of L_adv, non-saturating: −E[log D(G(a_2, s_1))] for "bce", summed over scales.

    Args and errors as `discriminator_loss`; "lsgan" counts twice.
    """
    loss, factor = _game(kind)
    return factor * jnp.sum(jnp.stack([loss(f, True) for f in fake]))


def r1_penalty(
    discriminator: Callable[[Float[Array, "n h w 3"]], Maps], x: Float[Array, "n h w 3"]
) -> Float[Array, ""]:
    """R1 = Σ over scales of E‖∂ ΣD(x) / ∂x‖²: keeps D flat round the real images (Mescheder et al. 2018)."""

    def squared_norms(scale: int):
        """Of the gradient of one scale, which goes back through that scale's convolutions alone."""
        gradient = jax.grad(lambda x: jnp.sum(discriminator(x)[scale]))(x)
        return jnp.sum(gradient**2)

    scales = len(jax.eval_shape(discriminator, x))
    return sum(map(squared_norms, range(scales)), start=jnp.zeros(())) / len(x)
