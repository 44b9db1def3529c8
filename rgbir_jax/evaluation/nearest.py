"""The order of a gallery by Euclidean distance: the one that all scores and all ranked lists have."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64

DISTANCES = 2**25  # number of distances in memory: 256 MiB, and about three times that at the peak


def squared_distances(
    products: Float64[np.ndarray, "p g"], probe: Float[np.ndarray, "p d"], squares: Float64[np.ndarray, "g"]
) -> Float64[np.ndarray, "p g"]:
    """Returns |p - g|^2, which overwrites `products`.

    Args:
        products: -2 p·g.
        probe: the features p.
        squares: |g|^2.
    """
    products += squares
    products += np.einsum("pd,pd->p", probe, probe)[:, None]
    return np.maximum(products, 0, out=products)


def packed(squared: Float64[np.ndarray, "p g"], place: Int[np.ndarray, "g"], size: int) -> Int64[np.ndarray, "p g"]:
    """Packs distances and places into integers, which overwrite `squared`: sorting them ranks the gallery.

    Squares that agree in about 52 - log2(size) bits count as equal and keep the order of the gallery. The lowest bit is
    free.

    Args:
        squared: squared distances.
        place: the place of each image in the gallery, below `size`.
        size: the number of images in the gallery.
    """
    keys = squared.view(np.int64)  # non-negative floats are ordered as their bits
    keys &= -(2 << size.bit_length())
    keys |= 2 * place
    return keys


def unpacked(keys: Int64[np.ndarray, "*any"], size: int) -> Int64[np.ndarray, "*any"]:
    """Returns the places that `packed` put into integers."""
    return (keys & ((2 << size.bit_length()) - 1)) >> 1


def nearest(
    probe: Float[np.ndarray, "p d"],
    gallery: Float[np.ndarray, "g d"],
    *,
    hidden: Bool[np.ndarray, "p g"] | None = None,
    top: int | None = None,
    place: Int[np.ndarray, "g"] | None = None,
    size: int | None = None,
) -> tuple[Int64[np.ndarray, "p k"], Float64[np.ndarray, "p k"]]:
    """Ranks the gallery, or some images of it, by Euclidean distance to each probe.

    Args:
        probe: features.
        gallery: features.
        hidden: gallery images that a probe does not see; they come last. None: there are none.
        top: the number of images to return; None: all.
        place: the place of each image if these are only some of a gallery.
        size: the number of images in that gallery.

    Returns:
        Places in the gallery, nearest first, and their distances, infinite for hidden images.
    """
    size = len(gallery) if size is None else size
    place = np.arange(len(gallery)) if place is None else place
    top = min(len(gallery), len(gallery) if top is None else top)
    gallery = np.asarray(gallery, np.float64)
    squares = np.einsum("gd,gd->g", gallery, gallery)
    order = np.zeros((len(probe), top), np.int64)
    distance = np.zeros((len(probe), top))
    rows = max(DISTANCES // max(len(gallery), 1), 1)
    for start in range(0, len(probe) if top else 0, rows):
        block = np.asarray(probe[start : start + rows], np.float64)
        squared = squared_distances(-2 * block @ gallery.T, block, squares)
        if hidden is not None:
            squared[hidden[start : start + rows]] = np.inf
        keys = packed(squared.copy(), place, size)
        first = np.sort(np.partition(keys, top - 1)[:, :top] if top < len(gallery) else keys)
        places = unpacked(first, size)
        order[start : start + rows] = places
        columns = places if size == len(gallery) else np.searchsorted(place, places)
        distance[start : start + rows] = np.sqrt(np.take_along_axis(squared, columns, axis=1))
    return order, distance
