"""Figure 3 of the paper: images generated from combined and interpolated codes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from rgbir_jax.data.augment import denormalise

STEPS = 7  # pictures of an interpolation, from one code to the next


def combinations(
    G: Callable[[Array, Array], Array], a: Float[Array, "n slices channels"], s: Float[Array, "n h w code"]
) -> dict[str, UInt8[Array, "n columns height width 3"]]:
    """Generates images from the codes of n images.

    Args:
        G: (a, s) -> normalised images.
        a: appearance codes.
        s: structure codes.

    Returns:
        `swapped` [n structures, n appearances, ...]; `between_appearances` [n, STEPS, ...]: the structure of image i,
        from its own appearance to the next image's; `between_structures`: the reverse.
    """

    def between(codes):
        """Interpolates from each code to the next one: [n, STEPS, ...]."""
        weight = jnp.linspace(0, 1, STEPS).reshape(1, -1, *[1] * (codes.ndim - 1))
        return (1 - weight) * codes[:, None] + weight * jnp.roll(codes, -1, axis=0)[:, None]

    def rows(a, s):
        """Generates one row of pictures at a time, which bounds the memory."""
        return denormalise(jax.lax.map(lambda row: G(*row), (a, s)))

    n = len(a)
    return {
        "swapped": rows(jnp.repeat(a[None], n, 0), jnp.repeat(s[:, None], n, 1)),
        "between_appearances": rows(between(a), jnp.repeat(s[:, None], STEPS, 1)),
        "between_structures": rows(jnp.repeat(a[:, None], STEPS, 1), between(s)),
    }
