"""A dataset with vectors instead of images: what a stage that reads an earlier one learns from."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from rgbir_jax.data.source import Rows
from rgbir_jax.datasets.records import Records


@dataclass(frozen=True)
class EmbeddedSource:
    """`data.source.Source` with a vector for each image.

    Attributes:
        records: the dataset's table.
        vectors: one per row of the table.
    """

    records: Records
    vectors: Float32[np.ndarray, "images dim"]
    field: str = "embedding"

    def read(self, rows: Int[np.ndarray, "*rows"]) -> Float32[np.ndarray, "*rows dim"]:
        """Returns the vectors of some rows of the records."""
        return self.vectors[rows]

    def stream(self, rows: Callable[[int], Rows], start: int) -> Iterator[Float32[np.ndarray, "_ _ _ dim"]]:
        """Yields the vectors of `rows(start)` and of every later batch, without end."""
        return (self.read(rows(step)) for step in itertools.count(start))
