"""Figure 3 of the paper: images generated from combined and interpolated codes. A code is an array or several."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, UInt8

from rgbir_jax.data.augment import denormalise

STEPS = 7  # pictures of an interpolation, from one code to the next
Codes = PyTree[Float[Array, "n ..."]]
Grid = PyTree[Float[Array, "n columns ..."]]


def combinations(
    G: Callable[[PyTree, PyTree], Array], a: Codes, s: Codes
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
        return between(codes, jax.tree.map(lambda code: jnp.roll(code, -1, axis=0), codes), STEPS)

    generated = {
        "between_appearances": rows(G, between_neighbours(a), repeated(s, STEPS)),
        "between_structures": rows(G, repeated(a, STEPS), between_neighbours(s)),
    }
    return {"swapped": swapped(G, a, s)} | {name: denormalise(images) for name, images in generated.items()}


def swapped(G: Callable[[PyTree, PyTree], Array], a: Codes, s: Codes) -> UInt8[Array, "n n height width 3"]:
    """Generates images from each structure code (row) with each appearance code (column)."""
    n = len(jax.tree.leaves(a)[0])
    every = jax.tree.map(lambda code: jnp.repeat(code[None], n, axis=0), a)
    return denormalise(rows(G, every, repeated(s, n)))


def between(start: Codes, end: Codes, steps: int) -> Grid:
    """Interpolates linearly from codes to other codes, both included."""

    def of(start, end):
        weight = jnp.linspace(0, 1, steps).reshape(1, -1, *[1] * (start.ndim - 1))
        return (1 - weight) * start[:, None] + weight * end[:, None]

    return jax.tree.map(of, start, end)


def repeated(codes: Codes, columns: int) -> Grid:
    """Repeats each code along a row."""
    return jax.tree.map(lambda code: jnp.repeat(code[:, None], columns, axis=1), codes)


def rows(G: Callable[[PyTree, PyTree], Array], a: Grid, s: Grid) -> Float[Array, "n columns height width 3"]:
    """Generates normalised images, one row at a time, which bounds the memory."""
    return jax.lax.map(lambda row: G(*row), (a, s))
