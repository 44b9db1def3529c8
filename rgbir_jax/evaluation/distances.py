"""Squared Euclidean distances in float64, and integers that sort as they do."""

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

DISTANCES = 2**25  # distances in memory of a ranking: 256 MiB, and about three times that at the peak
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


def keys(
    distance: Float64[np.ndarray, "p g"], place: Int[np.ndarray, "g"] | None = None, size: int | None = None
) -> Int64[np.ndarray, "p g"]:
    """Overwrites distances, 0 or more, with integers ordered as (distance, place in the gallery); the lowest bit is 0.

    Distances that agree in about 52 - log2(size) bits count as equal.

    Args:
        distance: the distances to a gallery, or to some images of it.
        place: the place of each of these images in the gallery, below `size`; None: they are all of it.
        size: the number of images in the gallery.
    """
    images = distance.shape[1] if size is None else size
    packed = distance.view(np.int64)  # non-negative floats are ordered as their bits
    packed &= ~_place_bits(images)
    packed |= 2 * (np.arange(images) if place is None else place)
    return packed


def places(keys: Int64[np.ndarray, "p k"], size: int) -> Int64[np.ndarray, "p k"]:
    """Returns the places that `keys` holds for a gallery of `size` images."""
    return (keys & _place_bits(size)) >> 1


def _place_bits(size: int) -> int:
    return (2 << size.bit_length()) - 1
