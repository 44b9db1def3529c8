"""k-reciprocal re-ranking (Zhong et al., CVPR 2017): images are near if they have the same neighbours.

Probes and gallery are one list. Each image i is described by weights V[i] of its neighbours that also have i as
their neighbour. The new distance to a gallery image j mixes the Jaccard distance of V[i] and V[j] with the old one. It
depends on the other probes, so its scores do not compare with those of plain distances.

No array has a row and a column per image: distances are computed in blocks, and V is sparse.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64
from scipy.sparse import csr_array

from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import distances


@dataclass(frozen=True)
class Reranking:
    """The parameters, with the published values.

    Attributes:
        k1: number of neighbours, from 1.
        k2: number of neighbours whose weights are averaged; 1 averages nothing.
        original: share of the original distance, λ, in 0..1.
    """

    k1: int = 20
    k2: int = 6
    original: float = 0.3

    def __post_init__(self):
        """Refuses parameters outside their ranges."""
        if self.k1 < 1 or self.k2 < 1 or not 0 <= self.original <= 1:
            raise UserError(f"{self} is not possible: k1 and k2 are at least 1, and λ is in 0..1.")

    def __str__(self) -> str:
        """Returns the label that re-ranked scores always carry."""
        return f"re-ranked (k1 {self.k1}, k2 {self.k2}, λ {self.original:g})"

    def labelled(self, by_setting: Mapping[str, Mapping]) -> dict:
        """Returns re-ranked scores by setting as JSON files have them: apart from plain ones, with their label."""
        return {"label": str(self), **asdict(self), "scores": dict(by_setting)}


def reranked(
    feature: Float[np.ndarray, "n d"],
    probes: Int[np.ndarray, "p"],
    gallery: Int[np.ndarray, "g"],
    parameters: Reranking,
) -> Callable[[slice], Float64[np.ndarray, "_ g"]]:
    """Prepares re-ranking.

    Memory beyond the features is bounded by a few `distances.BLOCK` and by V, which has at most
    k2 (k1 + 1) (k1 / 2 + 1) weights per image, usually some hundreds.

    Args:
        feature: one per image of the list.
        probes: rows of the list.
        gallery: rows of the list; an image may be a probe and in the gallery.
        parameters: k1, k2 and λ.

    Returns:
        (some of the probes) -> their new distances to the gallery, in 0..1.
    """
    feature = np.asarray(feature, np.float64)
    squares = distances.squares(feature)
    order, scale = _neighbours(feature, squares, max(parameters.k1 + 1, parameters.k2))
    weights = _weights(_expanded(order, parameters.k1), feature, squares, scale)
    if parameters.k2 > 1:
        weights = _average(order[:, : parameters.k2]) @ weights
    of_gallery = csr_array(weights[gallery]).tocsc()
    gallery_feature, gallery_squares = feature[gallery], squares[gallery]

    def final(places: slice) -> Float64[np.ndarray, "_ g"]:
        rows = probes[places]
        distance = distances.squared_distances(feature[rows], gallery_feature, gallery_squares)
        distance *= parameters.original * scale[rows, None]
        for new, row in zip(distance, rows.tolist(), strict=True):
            shared = _shared(weights, of_gallery, row)
            new += (1 - parameters.original) * (1 - shared / (2 - shared))
        return np.maximum(distance, 0, out=distance)

    return final


def _neighbours(
    feature: Float64[np.ndarray, "n d"], squares: Float64[np.ndarray, "n"], count: int
) -> tuple[Int64[np.ndarray, "n count"], Float64[np.ndarray, "n"]]:
    """Returns the `count` nearest images of each image in order, itself included, and its scale.

    The scale is 1 / its largest |i - j|², and 0 if all its distances are 0: E[i, j] = scale[i] |i - j|².
    """
    n = len(feature)
    count = min(count, n)
    order, largest = np.empty((n, count), np.int64), np.empty(n)
    rows = max(distances.BLOCK // n, 1)
    for block in (slice(start, start + rows) for start in range(0, n, rows)):
        distance = distances.squared_distances(feature[block], feature, squares)
        largest[block] = distance.max(axis=1)
        nearest = np.partition(distances.keys(distance), count - 1, axis=1)[:, :count]
        order[block] = distances.places(np.sort(nearest, axis=1), n)
    return order, np.divide(1, largest, out=np.zeros(n), where=largest > 0)


def _reciprocal(order: Int64[np.ndarray, "n count"], k: int) -> csr_array:
    """Returns R(i, k): a 1 for those among the first k + 1 neighbours of i that have i among theirs."""
    first, image = order[:, : k + 1], np.arange(len(order))[:, None]
    has_me = [(first[neighbour] == image).any(axis=1) for neighbour in first.T]
    return _sparse(first, np.stack(has_me, axis=1))


def _sparse(columns: Int[np.ndarray, "n count"], chosen: Bool[np.ndarray, "n count"]) -> csr_array:
    starts = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))])
    return csr_array((np.ones(starts[-1]), columns[chosen], starts), shape=(len(columns), len(columns)))


def _expanded(order: Int64[np.ndarray, "n count"], k1: int) -> csr_array:
    """Returns R*(i): R(i, k1), and R(j, k1 / 2) of its members j that have more than two thirds of it in R(i, k1)."""
    members, smaller = _reciprocal(order, k1), _reciprocal(order, round(k1 / 2))
    joined = members.multiply(members @ smaller.T).tocsr()  # number of images of R(j, k1 / 2) in R(i, k1)
    joined.data = (3 * joined.data > 2 * np.diff(smaller.indptr)[joined.indices]).astype(float)
    joined.eliminate_zeros()
    return (members + joined @ smaller).tocsr()


def _weights(
    expanded: csr_array,
    feature: Float64[np.ndarray, "n d"],
    squares: Float64[np.ndarray, "n"],
    scale: Float64[np.ndarray, "n"],
) -> csr_array:
    """Returns V: exp(-E[i, j]) for the j of R*(i), divided by the sum of the row."""
    row = np.repeat(np.arange(len(feature)), np.diff(expanded.indptr))
    column = expanded.indices
    weight = np.empty(len(row))
    size = max(distances.BLOCK // feature.shape[1], 1)
    for part in (slice(start, start + size) for start in range(0, len(row), size)):
        i, j = row[part], column[part]
        squared = squares[i] + squares[j] - 2 * np.einsum("nd,nd->n", feature[i], feature[j])
        weight[part] = np.exp(-np.maximum(squared, 0) * scale[i])
    weight /= np.bincount(row, weight, minlength=len(feature))[row]
    return csr_array((weight, column, expanded.indptr), shape=expanded.shape)


def _average(order: Int64[np.ndarray, "n count"]) -> csr_array:
    """Returns the matrix that averages rows over the given neighbours of each image."""
    return _sparse(order, np.ones(order.shape, bool)) / order.shape[1]


def _shared(weights: csr_array, of_gallery, i: int) -> Float64[np.ndarray, "g"]:
    """Returns Σ_l min(V[i, l], V[j, l]) for every gallery image j."""
    own = slice(weights.indptr[i], weights.indptr[i + 1])
    neighbour, weight = weights.indices[own], weights.data[own]
    begin = of_gallery.indptr[neighbour].astype(np.int64)
    count = of_gallery.indptr[neighbour + 1] - begin
    place = np.arange(count.sum()) + np.repeat(begin - np.cumsum(count) + count, count)
    smaller = np.minimum(of_gallery.data[place], np.repeat(weight, count))
    shared = np.bincount(of_gallery.indices[place], smaller, minlength=of_gallery.shape[0])
    return shared.astype(np.float64)  # of no neighbours they are integers
