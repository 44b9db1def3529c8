"""A gallery's index: its images' features in a folder, and the search in it."""

import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.nearest import nearest
from rgbir_jax.inference.image_features import Features
from rgbir_jax.search import approximate
from rgbir_jax.search.ranking import Images, Ranking, is_finite
from rgbir_jax.search.store import Info, Vectors, damaged, read_info
from rgbir_jax.search.table import Table

EXACT_UP_TO = 300_000  # images; an index of kind "auto" with more of them is searched with FAISS
REFINED = 10  # candidates per wanted image that FAISS proposes, at least `CANDIDATES`
CANDIDATES = 200
# What NumPy raises for files that are damaged or of another kind.
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, eq=False)
class Index:
    """An index of a gallery, opened to search in it.

    Attributes:
        folder: its folder.
        info: what index.json says.
        table: its images.
        vectors: their vectors, and those of images that are gone.
    """

    folder: Path
    info: Info
    table: Table
    vectors: Vectors

    @property
    def gallery(self) -> Path:
        """The folder of the images."""
        return self.folder / self.info.gallery

    @property
    def images(self) -> Images:
        """The images in the order of the gallery."""
        return Images(self.table.paths, self.table.modality)

    def search(self, query: Shaped[np.ndarray, "..."], top: int = 10) -> Ranking:
        """Ranks the gallery as `rgbir_jax.rank` ranks the features of its folder.

        An index of kind "exact" gives the same lists. With FAISS, some images of a list may be missing.

        Args:
            query: features of the run that made the index, float [queries, dim].
            top: the number of images in each list.

        Raises:
            UserError: for features of another run or length, a `top` below 1, or an index without images.
        """
        self._check(query, top)
        vectors = np.asarray(query, np.float32)
        top = min(top, len(self.table))
        order = np.zeros((len(vectors), top), np.int64)
        distance = np.zeros((len(vectors), top))
        for number, vector in enumerate(vectors):
            places = self._candidates(vector, top)
            chosen = self.vectors_of(places)
            order[number], distance[number] = (
                lists[0] for lists in nearest(vector[None], chosen, top=top, place=places, size=len(self.table))
            )
        return Ranking(order, distance, Images.of(query), self.images)

    def vectors_of(self, places: Int64[np.ndarray, "n"]) -> Float32[np.ndarray, "n dim"]:
        """Reads the vectors of some images.

        Raises:
            UserError: if they are damaged.
        """
        vectors = self.vectors[self.table.vector[places]]
        lengths = np.einsum("nd,nd->n", vectors, vectors)
        if not (np.abs(lengths - 1) < 0.01).all():  # not so if one is NaN
            raise damaged(self.folder, "some of its vectors have not the length 1")
        return vectors

    def load(self) -> "Index":
        """Reads into memory what `search` needs; without this, the first search does it."""
        _ = self.faiss, self._compared
        return self

    def check_run(self, fingerprint: str) -> None:
        """Refuses features of another run than those of the index.

        Raises:
            UserError: naming both runs.
        """
        if fingerprint != self.info.run:
            raise UserError(
                f"{self.folder} has features of the run {self.info.run_name} ({self.info.run}), which cannot be "
                f"compared with those of another ({fingerprint}); use that run, or make another index."
            )

    def check_images(self) -> None:
        """Refuses an index whose images are all gone.

        Raises:
            UserError: naming it.
        """
        if not len(self.table):
            raise UserError(f"{self.folder} has no images any more; add some with rgbir-index.")

    def _check(self, query: Shaped[np.ndarray, "..."], top: int) -> None:
        if isinstance(query, Features) and query.run:
            self.check_run(query.run)
        self.check_images()
        dim = self.vectors.dim
        if not is_finite(query) or query.ndim != 2 or query.shape[1] != dim:
            raise UserError(f"the query is {list(query.shape)}; it must be finite, [queries, {dim}] for {self.folder}.")
        if top < 1:
            raise UserError(f"top is {top}; it must be at least 1.")

    def _candidates(self, vector: Float32[np.ndarray, "dim"], top: int) -> Int64[np.ndarray, "_"]:
        """Returns the places of images among which the nearest are, in order."""
        rounding = 4 * len(vector) * float(np.finfo(np.float32).eps)  # above the error of a product of unit vectors
        places = [self._compared_places[_near(self._compared @ vector, top, rounding)]]
        if self.faiss is not None:
            spare = len(self.vectors) / len(self.table)  # some proposed vectors are of images that are gone
            count = int(spare * max(CANDIDATES, REFINED * top))
            rows = approximate.candidates(self.faiss, vector[None], count)[0]
            proposed = self._place_of[rows[rows >= 0]]
            places.append(proposed[proposed >= 0])
        return np.unique(np.concatenate(places))

    @cached_property
    def _place_of(self) -> Int64[np.ndarray, "vectors"]:
        """The place of each vector's image in the table; -1 if it is gone."""
        place = np.full(len(self.vectors), -1)
        place[self.table.vector] = np.arange(len(self.table))
        return place

    @cached_property
    def faiss(self) -> Any:
        """What FAISS proposes candidates from; None if all images are compared one by one.

        Raises:
            UserError: if FAISS is not installed, or if the file is damaged.
        """
        if not self.info.faiss:
            return None
        try:
            return approximate.read(self.folder / self.info.faiss)
        except RuntimeError as error:
            raise damaged(self.folder, self.info.faiss) from error

    @cached_property
    def _compared_places(self) -> Int64[np.ndarray, "n"]:
        """The places of the images that are compared one by one: those that FAISS does not have, or all."""
        start = self.faiss.ntotal if self.faiss is not None else 0
        places = self._place_of[start:]
        return places[places >= 0]

    @cached_property
    def _compared(self) -> Float32[np.ndarray, "n dim"]:
        return self.vectors_of(self._compared_places)


def _near(products: Float32[np.ndarray, "n"], top: int, rounding: float) -> Int64[np.ndarray, "_"]:
    """Returns the rows with the largest products, and those that an error of `rounding` could have kept out."""
    if len(products) <= top:
        return np.arange(len(products))
    last = np.partition(products, len(products) - top)[len(products) - top]
    return np.flatnonzero(products >= last - rounding)


def open_index(folder: Path) -> Index:
    """Opens an index.

    Raises:
        UserError: if a file of it is missing or damaged.
    """
    info = read_info(folder)
    try:
        table, vectors = Table.read(folder / info.table), Vectors.open(folder, info.vectors)
        table.check(len(vectors))
    except UNREADABLE as error:
        if read_info(folder).written != info.written:  # it was updated meanwhile, and its former files are gone
            return open_index(folder)
        raise damaged(folder, error) from error
    return Index(folder, info, table, vectors)
