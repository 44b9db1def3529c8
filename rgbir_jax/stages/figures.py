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

    def between_neighbours(codes):
        return between(codes, jnp.roll(codes, -1, axis=0), STEPS)

    n = len(a)
    generated = {
        "swapped": rows(G, jnp.repeat(a[None], n, 0), jnp.repeat(s[:, None], n, 1)),
        "between_appearances": rows(G, between_neighbours(a), jnp.repeat(s[:, None], STEPS, 1)),
        "between_structures": rows(G, jnp.repeat(a[:, None], STEPS, 1), between_neighbours(s)),
    }
    return {name: denormalise(images) for name, images in generated.items()}


def between(start: Float[Array, "n *code"], end: Float[Array, "n *code"], steps: int) -> Float[Array, "n steps *code"]:
    """Interpolates linearly from codes to other codes, both included."""
    weight = jnp.linspace(0, 1, steps).reshape(1, -1, *[1] * (start.ndim - 1))
    return (1 - weight) * start[:, None] + weight * end[:, None]


def rows(
    G: Callable[[Array, Array], Array],
    a: Float[Array, "n columns slices channels"],
    s: Float[Array, "n columns h w code"],
) -> Float[Array, "n columns height width 3"]:
    """Generates normalised images, one row at a time, which bounds the memory."""
    return jax.lax.map(lambda row: G(*row), (a, s))
