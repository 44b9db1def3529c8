"""Squared Euclidean distances in float64, and integers that sort as they do."""

import numpy as np
from jaxtyping import Float, Float64, Int64

BLOCK = 2**22  # distances in memory at a time, for what needs no more of them at once: 32 MiB


def squares(feature: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n"]:
    """Returns the squared length of each feature."""
    feature = np.asarray(feature, np.float64)
    return np.einsum("nd,nd->n", feature, feature)


def products(probe: Float[np.ndarray, "p d"], gallery: Float64[np.ndarray, "g d"]) -> Float64[np.ndarray, "p g"]:
    """Returns -2 p·g, which `complete` turns into squared distances."""
    return -2 * np.asarray(probe, np.float64) @ gallery.T


def complete(
    products: Float64[np.ndarray, "p g"],
    probe: Float[np.ndarray, "p d"],
    gallery_squares: Float64[np.ndarray, "g"],
) -> Float64[np.ndarray, "p g"]:
    """Overwrites -2 p·g with |p - g|²."""
    products += gallery_squares
    products += squares(probe)[:, None]
    return np.maximum(products, 0, out=products)


def squared_distances(
    probe: Float[np.ndarray, "p d"], gallery: Float64[np.ndarray, "g d"], gallery_squares: Float64[np.ndarray, "g"]
) -> Float64[np.ndarray, "p g"]:
    """Computes |p - g|² of all pairs.

    Args:
        probe: features.
        gallery: features.
        gallery_squares: `squares(gallery)`.
    """
    return complete(products(probe, gallery), probe, gallery_squares)


def keys(distance: Float64[np.ndarray, "p g"]) -> Int64[np.ndarray, "p g"]:
    """Overwrites distances, 0 or more, with integers ordered as (distance, position in the row); the lowest bit is 0.

    Distances that agree in about 52 - log2(g) bits count as equal.
    """
    gallery = distance.shape[1]
    packed = distance.view(np.int64)  # non-negative floats are ordered as their bits
    packed &= ~_position_bits(gallery)
    packed |= 2 * np.arange(gallery)
    return packed


def positions(keys: Int64[np.ndarray, "p k"], gallery: int) -> Int64[np.ndarray, "p k"]:
    """Returns the positions that `keys` of a row of `gallery` distances hold."""
    return (keys & _position_bits(gallery)) >> 1


def _position_bits(gallery: int) -> int:
    return (2 << gallery.bit_length()) - 1
