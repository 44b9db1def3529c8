"""The contract between data and training: what a batch is, and what every source of images promises."""

import itertools
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Shaped
from ml_collections import ConfigDict

from rgbir_jax.data.sampling import IdentitySampler
from rgbir_jax.datasets.records import Records

# A training batch on the host, with modality and shot in the order of the sampler:
#   image   uint8 [identity, modality, shot, height, width, 3], RGB
#   label   int32 [identity]
#   camera  int32 [identity, modality, shot]
# A stage that reads another one gets `embedding` float32 [identity, modality, shot, dim] instead of `image`.
Batch = dict[str, np.ndarray]
Rows = Int[np.ndarray, "identity modality shot"]

# The way out if decoded images cannot be kept.
PREPARED_ELSEWHERE = (
    "make room there, or set --config.prepared_dir (eval.py: --prepared_dir) to a folder that you may write to."
)


@runtime_checkable
class Source(Protocol):
    """A dataset's table and, for each of its rows, an input: a decoded image or a vector.

    Attributes:
        records: every image of the dataset, all splits.
        field: the input's name in a batch, "image" or "embedding".
    """

    @property
    def records(self) -> Records:
        """The table."""
        ...

    @property
    def field(self) -> str:
        """The input's name."""
        ...

    def read(self, rows: Int[np.ndarray, "*rows"]) -> Shaped[np.ndarray, "..."]:
        """Returns the inputs of some rows: uint8 [*rows, height, width, 3] RGB, or float32 [*rows, dim]."""
        ...

    def stream(self, rows: Callable[[int], Rows], start: int) -> Iterator[Shaped[np.ndarray, "_ _ _ *input"]]:
        """Yields the inputs of `rows(start)` and of every later batch, without end."""
        ...


def batches(source: Source, sampler: IdentitySampler, start: int = 0) -> Iterator[Batch]:
    """Yields this process's share of batch `start` and of every later batch, without end.

    Args:
        source: the images or vectors.
        sampler: chooses the rows of each batch.
        start: the number of the first batch, from 0.
    """
    for step, inputs in zip(itertools.count(start), source.stream(sampler, start), strict=False):
        rows = sampler(step)
        yield {
            source.field: inputs,
            "label": sampler.label[rows[:, 0, 0]],
            "camera": source.records.camera[rows],
        }


def batch_spec(config: ConfigDict, dim: int | None = None) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Returns the shape and dtype of each array of a global batch.

    Args:
        config: `batch.identities`, `batch.shots`, `modalities` and `image_size`.
        dim: the length of the vectors that a stage reads instead of images.
    """
    lead = (config.batch.identities, len(config.modalities), config.batch.shots)
    if dim is None:
        inputs = {"image": ((*lead, *config.image_size, 3), np.dtype(np.uint8))}
    else:
        inputs = {"embedding": ((*lead, dim), np.dtype(np.float32))}
    return inputs | {"label": (lead[:1], np.dtype(np.int32)), "camera": (lead, np.dtype(np.int32))}
