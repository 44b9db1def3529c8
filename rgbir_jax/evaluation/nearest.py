"""The order of a gallery by Euclidean distance: the one that all scores and all ranked lists have."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64

from rgbir_jax.evaluation import distances


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
    squares = distances.squares(gallery)
    order = np.zeros((len(probe), top), np.int64)
    distance = np.zeros((len(probe), top))
    rows = max(distances.DISTANCES // max(len(gallery), 1), 1)
    for start in range(0, len(probe) if top else 0, rows):
        squared = distances.squared_distances(probe[start : start + rows], gallery, squares)
        if hidden is not None:
            squared[hidden[start : start + rows]] = np.inf
        keys = distances.keys(squared.copy(), place, size)
        first = np.sort(np.partition(keys, top - 1)[:, :top] if top < len(gallery) else keys)
        places = distances.places(first, size)
        order[start : start + rows] = places
        columns = places if size == len(gallery) else np.searchsorted(place, places)
        distance[start : start + rows] = np.sqrt(np.take_along_axis(squared, columns, axis=1))
    return order, distance
