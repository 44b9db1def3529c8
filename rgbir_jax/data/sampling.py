"""Chooses the images of batch number `step`: a pure function of (seed, step), so a resumed run needs one integer."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from rgbir_jax.datasets.records import Records
from rgbir_jax.errors import UserError

_EPOCH, _STEP = 0, 1  # two independent streams of one seed


class IdentitySampler:
    """Draws identities, and for each identity and modality some of its images.

    An epoch shows every training identity once, except a few (different ones each time) that do not fill a batch. All
    identities of a batch are different, and so are the images of an identity if it has enough.

    Attributes:
        people: person_id of each training identity, sorted; the place of one is its label.
        label: int32 [images], the label of every row of the records; -1 for an identity that does not train.
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
        process_index: int = 0,
        process_count: int = 1,
    ):
        """Sorts the training images by identity and modality.

        Args:
            records: the table of the whole dataset.
            rows: the training images.
            identities: the number of identities in a global batch.
            shots: the number of images of each identity and modality.
            modalities: 0 RGB, 1 IR, in the order of the batch.
            seed: a number that is not negative.
            process_index: this process's number, from 0.
            process_count: the number of processes that share each batch.

        Raises:
            UserError: for a batch larger than the training set, an identity without images of a modality, or a batch
                that the processes cannot divide.
        """
        self.people = people = np.unique(records.person_id[rows])
        if not 0 < identities <= len(people):
            raise UserError(
                f"a batch of {identities} identities cannot be drawn from {len(people)} training identities; "
                f"set config.batch.identities between 1 and {len(people)}."
            )
        if identities % process_count:
            raise UserError(
                f"{identities} identities cannot be divided among {process_count} processes; "
                f"set config.batch.identities to a multiple of {process_count}."
            )
        self.label = np.where(
            np.isin(records.person_id, people), np.searchsorted(people, records.person_id), -1
        ).astype(np.int32)
        self._identities, self._shots, self._seed = identities, shots, seed
        share = identities // process_count
        self._share = slice(process_index * share, (process_index + 1) * share)

        self._images, self._counts = _by_identity(records, np.asarray(rows), people, modalities)

    def __call__(self, step: int) -> Int[np.ndarray, "identity modality shot"]:
        """Returns the rows of this process's share of batch `step` (from 0)."""
        batches = len(self.people) // self._identities
        epoch, place = divmod(step, batches)
        order = self._generator(_EPOCH, epoch).permutation(len(self.people))
        chosen = order[place * self._identities : (place + 1) * self._identities]

        # Each image draws a ticket and the lowest win. Padding comes last. An identity with too few images shows all of
        # them before it repeats one.
        images, counts = self._images[chosen], self._counts[chosen][..., None]
        tickets = self._generator(_STEP, step).random(images.shape)
        tickets[np.arange(images.shape[-1]) >= counts] = np.inf
        drawn = np.take_along_axis(np.argsort(tickets, axis=-1), np.arange(self._shots) % counts, axis=-1)
        return np.take_along_axis(images, drawn, axis=-1)[self._share]

    def _generator(self, stream: int, number: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(stream, number)))


def _by_identity(
    records: Records, rows: np.ndarray, people: np.ndarray, modalities: Sequence[int]
) -> tuple[Int[np.ndarray, "identity modality most"], Int[np.ndarray, "identity modality"]]:
    """Returns the rows of each identity and modality, padded with zeros to the longest list, and their number."""
    groups = {}
    for row in rows:
        groups.setdefault((records.person_id[row], records.modality[row]), []).append(row)
    for person in people:
        for modality in modalities:
            if (person, modality) not in groups:
                raise UserError(
                    f"training identity {person} has no {('RGB', 'IR')[modality]} image; take it off the "
                    f"training list, or set config.modalities to those that every identity has."
                )
    table = [[groups[person, modality] for modality in modalities] for person in people]
    counts = np.array([[len(images) for images in person] for person in table])
    images = np.zeros((*counts.shape, counts.max()), np.int64)
    for i, j in np.ndindex(counts.shape):
        images[i, j, : counts[i, j]] = table[i][j]
    return images, counts
