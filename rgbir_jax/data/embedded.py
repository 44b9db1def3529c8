"""A dataset whose images have been replaced by vectors: what a stage learns from that reads an earlier one."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from rgbir_jax.data.layouts import Records
from rgbir_jax.data.sampling import IdentitySampler, process_share
from rgbir_jax.data.source import Batch, batch


@dataclass(frozen=True)
class EmbeddedSource:
    """Like a `data.source.Source`, with a vector for each image.

    Attributes:
        records: the dataset's table.
        vectors: one for each of its rows.
    """

    records: Records
    vectors: Float32[np.ndarray, "images dim"]

    def embeddings(self, rows: Int[np.ndarray, "*rows"]) -> Float32[np.ndarray, "*rows dim"]:
        """The vectors of some rows of the records."""
        return self.vectors[rows]

    def batches(
        self, sampler: IdentitySampler, start: int = 0, process_index: int = 0, process_count: int = 1
    ) -> Iterator[Batch]:
        """As `Source.batches`, with `embedding` float32 [identity, modality, shot, dim] in place of `image`."""
        for step in itertools.count(start):
            rows = process_share(sampler(step), process_index, process_count)
            yield batch(sampler, self.records, rows, embedding=self.embeddings(rows))
