"""Ranked lists of gallery images, in the order of the evaluation."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8, Shaped

from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.errors import UserError, one_line
from rgbir_jax.evaluation.nearest import nearest
from rgbir_jax.evaluation.thresholds import Thresholds
from rgbir_jax.inference.image_features import Features

NOT_KNOWN = "not known"  # whether two images show the same person


class Images(NamedTuple):
    """What is known of some images.

    Attributes:
        paths: their paths.
        modality: 0 RGB, 1 IR; None if it is not known.
    """

    paths: Sequence[str]
    modality: Int[np.ndarray, "n"] | None

    @classmethod
    def of(cls, features: np.ndarray) -> "Images":
        """Returns the images of features; numbered ones, from 1, of an array that does not know them."""
        if isinstance(features, Features) and len(features.paths) == len(features):
            return cls(features.paths, features.modality)
        return cls([f"image {number}" for number in range(1, len(features) + 1)], None)

    def below(self, folder: str) -> "Images":
        """Returns the images with their paths below a folder, if they were relative to it."""
        return self._replace(paths=[os.path.join(folder, path) for path in self.paths])

    def kind(self, row: int | np.integer) -> str:
        """Returns "RGB" or "IR"; empty if it is not known."""
        return "" if self.modality is None else MODALITIES[self.modality[row]].upper()


class Ranking(NamedTuple):
    """A ranked list of gallery images per query, nearest first. `print` shows it.

    Attributes:
        order: rows of the gallery.
        distance: their Euclidean distances, 0..2 between unit vectors.
        query: the queries.
        gallery: the gallery.
        same: 1 if a threshold says that both images show the same person, 0 if it says that they do not, -1 if it was
            not found on images of these modalities; None: no threshold was applied.
    """

    order: Int[np.ndarray, "q k"]
    distance: Float[np.ndarray, "q k"]
    query: Images
    gallery: Images
    same: Int8[np.ndarray, "q k"] | None = None

    @property
    def paths(self) -> list[list[str]]:
        """The paths of each list."""
        return [[str(self.gallery.paths[row]) for row in rows] for rows in self.order]

    def matches(self, number: int) -> list[dict]:
        """Returns the list of a query: `rank` from 1, `distance`, `modality` and `path` of each gallery image.

        If a threshold was applied, `same` is true or false, or null if it does not apply to a pair.
        """
        listed = zip(self.order[number].tolist(), self.distance[number].tolist(), strict=True)
        matches: list[dict] = [
            {"rank": rank, "distance": distance, "modality": self.gallery.kind(row), "path": self.gallery.paths[row]}
            for rank, (row, distance) in enumerate(listed, 1)
        ]
        if self.same is not None:
            for match, same in zip(matches, self.same[number].tolist(), strict=True):
                match["same"] = None if same < 0 else bool(same)
        return matches

    def judged(self, thresholds: Thresholds, fpr: float) -> "Ranking":
        """Says of each listed image whether it shows the query's person.

        Args:
            thresholds: those of the run, such as `Run.thresholds()`. They apply to pairs of the modalities that they
                were found on, in either order: images of one modality are nearer to each other than those of two.
            fpr: the share of the pairs of two persons that may be taken for the same person, such as 1e-3.

        Raises:
            UserError: if these thresholds cannot support this rate, or if a modality is not known.
        """
        if self.query.modality is None or self.gallery.modality is None:
            raise UserError(
                "the modality of the images is not known, and thresholds depend on it; rank features of a run."
            )
        query, gallery = self.query.modality[:, None], self.gallery.modality[self.order]
        probe, other = (
            np.array([MODALITIES.index(name) for name in names]) for names in (thresholds.probe, thresholds.gallery)
        )
        applies = (np.isin(query, probe) & np.isin(gallery, other)) | (np.isin(query, other) & np.isin(gallery, probe))
        within = self.distance <= thresholds.at(fpr)
        return self._replace(same=np.where(applies, within, -1).astype(np.int8))

    def as_json(self) -> list[dict]:
        """Returns, per query, `path`, `modality` and its `matches`."""
        return [
            {"path": path, "modality": self.query.kind(number), "matches": self.matches(number)}
            for number, path in enumerate(self.query.paths)
        ]

    def __str__(self) -> str:
        """Lists each query and, below it, its matches."""
        lines, width = [], 0 if self.same is None else len(NOT_KNOWN) + 2
        for number, path in enumerate(self.query.paths):
            kind = self.query.kind(number)
            lines.append(f"{path} ({kind})" if kind else path)
            lines += [
                "{rank:5}  {distance:.3f}  {modality:3}  {mark}{path}".format(**match, mark=mark(match).ljust(width))
                for match in self.matches(number)
            ]
        return "\n".join(map(one_line, lines))


def mark(match: dict) -> str:
    """Says in a word whether a match of `Ranking.matches` shows the query's person; empty without a threshold."""
    words = {None: NOT_KNOWN, True: "same", False: "other"}
    return words[match["same"]] if "same" in match else ""


def rank(query: Shaped[np.ndarray, "..."], gallery: Shaped[np.ndarray, "..."], top: int | None = None) -> Ranking:
    """Ranks a gallery by Euclidean distance to each query, as the evaluation does: equal distances keep its order.

        print(rgbir_jax.rank(model.features("query.png"), model.features("people"), top=10))

    Args:
        query: features of the images that are looked for, float [queries, size].
        gallery: features of the images among which they are looked for, float [images, size].
        top: the number of gallery images in each list; None: all.

    Raises:
        UserError: for features of two runs, of two lengths or that are not finite, or a `top` below 1.
    """
    runs = {features.run for features in (query, gallery) if isinstance(features, Features)} - {""}
    if len(runs) > 1:
        raise UserError("the query and the gallery have features of two runs; compute both with the same.")
    if top is not None and top < 1:
        raise UserError(f"top is {top}; it must be at least 1.")
    query_vectors, gallery_vectors = np.asarray(query), np.asarray(gallery)
    for vectors in (query_vectors, gallery_vectors):
        if not is_finite(vectors) or vectors.ndim != 2 or vectors.shape[1] != query_vectors.shape[-1]:
            raise UserError(
                f"the features are {list(query_vectors.shape)} and {list(gallery_vectors.shape)}; both must be finite "
                f"[images, size], of the same size."
            )
    order, distance = nearest(query_vectors, gallery_vectors, top=top)
    return Ranking(order, distance, Images.of(query), Images.of(gallery))


def is_finite(vectors: Shaped[np.ndarray, "..."]) -> bool:
    """Says whether an array has real and finite numbers only."""
    return vectors.dtype.kind in "fiu" and bool(np.isfinite(vectors).all())
