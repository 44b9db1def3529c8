"""Which images make batch number `step`: a pure function of (seed, step); a resumed run needs one integer."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from rgbir_jax.data.layouts import Records

_EPOCH, _STEP = 0, 1  # two independent streams of one seed


class IdentitySampler:
    """Draws identities, and for each identity and modality some of its images.

    An epoch shows every training identity once, save a few (others each time) that do not fill a batch.
    Within a batch the identities differ, and so do the images of an identity as long as it has enough.

    Attributes:
        classes: number of training identities.
        label: int32 [images], for every row of the records the rank of its person_id among the training
            identities (0..classes-1); -1 where that identity does not train.
    """

    def __init__(
        self,
        records: Records,
        rows: Int[np.ndarray, "train"],
        *,
        identities: int,
        shots: int,
        modalities: Sequence[int] = (0, 1),
        seed: int = 0,
    ):
        """Sorts the training images by identity and modality.

        Args:
            records: of the whole dataset.
            rows: the images that train.
            identities: in a batch, at most all that train.
            shots: images of each identity and modality.
            modalities: 0 RGB, 1 IR, in the order in which the batch has them.
            seed: not negative.

        Raises:
            ValueError: for a batch larger than the training set, or an identity without images of a modality.
        """
        people = np.unique(records.person_id[rows])
        if not 0 < identities <= len(people):
            raise ValueError(
                f"a batch of {identities} identities cannot be drawn from {len(people)} training identities; "
                f"set config.batch.identities between 1 and {len(people)}."
            )
        self.classes = len(people)
        self.label = np.where(
            np.isin(records.person_id, people), np.searchsorted(people, records.person_id), -1
        ).astype(np.int32)
        self._identities, self._shots, self._seed = identities, shots, seed

        self._images, self._counts = _by_identity(records, np.asarray(rows), people, modalities)

    def __call__(self, step: int) -> Int[np.ndarray, "identity modality shot"]:
        """The rows of batch `step` (from 0) in the records."""
        batches = self.classes // self._identities
        epoch, place = divmod(step, batches)
        order = self._generator(_EPOCH, epoch).permutation(self.classes)
        chosen = order[place * self._identities : (place + 1) * self._identities]

        # Each image draws a ticket and the lowest win. Padding comes last; an identity with too few images
        # shows all of them before any of them again.
        images, counts = self._images[chosen], self._counts[chosen][..., None]
        tickets = self._generator(_STEP, step).random(images.shape)
        tickets[np.arange(images.shape[-1]) >= counts] = np.inf
        drawn = np.take_along_axis(np.argsort(tickets, axis=-1), np.arange(self._shots) % counts, axis=-1)
        return np.take_along_axis(images, drawn, axis=-1)

    def _generator(self, stream: int, number: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(stream, number)))


def _by_identity(
    records: Records, rows: np.ndarray, people: np.ndarray, modalities: Sequence[int]
) -> tuple[Int[np.ndarray, "identity modality most"], Int[np.ndarray, "identity modality"]]:
    """The rows of each identity and modality, padded with zeros to the most there are, and their number."""
    groups = {}
    for row in rows:
        groups.setdefault((records.person_id[row], records.modality[row]), []).append(row)
    for person in people:
        for modality in modalities:
            if (person, modality) not in groups:
                raise ValueError(
                    f"training identity {person} has no {('RGB', 'IR')[modality]} image; take it off the "
                    f"training list, or set config.modalities to those that every identity has."
                )
    table = [[groups[person, modality] for modality in modalities] for person in people]
    counts = np.array([[len(images) for images in person] for person in table])
    images = np.zeros((*counts.shape, counts.max()), np.int64)
    for i, j in np.ndindex(counts.shape):
        images[i, j, : counts[i, j]] = table[i][j]
    return images, counts


def process_share(
    rows: Int[np.ndarray, "identity modality shot"], process_index: int, process_count: int
) -> Int[np.ndarray, "share modality shot"]:
    """The identities of a global batch that one of several processes fetches.

    Raises:
        ValueError: where the processes do not divide the identities.
    """
    if len(rows) % process_count:
        raise ValueError(
            f"{len(rows)} identities cannot be divided among {process_count} processes; "
            f"set config.batch.identities to a multiple of {process_count}."
        )
    share = len(rows) // process_count
    return rows[process_index * share : (process_index + 1) * share]
