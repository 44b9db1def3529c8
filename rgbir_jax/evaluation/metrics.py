"""Ranked lists and what is read from them: CMC, mAP and mINP, for many probes and several galleries at once.

A gallery image's distance to a probe, its place in the gallery and whether it shows the probe's person are packed into
one integer. Sorting these integers ranks the gallery as a stable sort of the distances would, and the lowest bit of
each then says whether that rank is a hit: no index array is sorted along, and no probe has a loop of its own. A ranked
list takes only a choice of columns, so that ten trials share one computation of the distances.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

DISTANCES = 2**25  # held at a time by all threads together: 256 MiB, and about three times that at the peak
MAX_ROWS = 128  # probes in a chunk: more gain nothing, fewer stay in the cache
CMC_LENGTH = 50


@dataclass(frozen=True)
class Images:
    """Images to be compared: one row each."""

    feature: Float[np.ndarray, "n d"]
    person_id: Int[np.ndarray, "n"]
    camera: Int[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.person_id)

    def __getitem__(self, rows: slice | np.ndarray) -> "Images":
        return Images(self.feature[rows], self.person_id[rows], self.camera[rows])


# Which gallery images a probe does not see: (probe, gallery) -> bool [probes, gallery].
Hidden = Callable[[Images, Images], Bool[np.ndarray, "p g"]]


@dataclass(frozen=True)
class Ranks:
    """What one gallery's ranked lists say of each of n probes; meaningless where `counted` is False."""

    first: Int[np.ndarray, "n"]  # rank of the probe's person, from 0
    average_precision: Float[np.ndarray, "n"]  # mean of the precision at each hit
    inverse_penalty: Float[np.ndarray, "n"]  # hits / rank of the last hit from 1: AGW's INP
    counted: Bool[np.ndarray, "n"]  # the gallery holds an image of the probe's person that the probe may see

    def select(self, mask: Bool[np.ndarray, "n"]) -> "Ranks":
        """The probes under `mask`."""
        return Ranks(self.first[mask], self.average_precision[mask], self.inverse_penalty[mask], self.counted[mask])


def rank(
    probe: Images,
    gallery: Images,
    galleries: Sequence[Int[np.ndarray, "_"]],
    hidden: Hidden,
    unit: Literal["identity", "image"],
) -> list[Ranks]:
    """Ranks several galleries by Euclidean distance to each probe.

    Distances are float64 whatever the features are. Those that agree in about 52 - log2(gallery) bits of their square
    count as equal, and equal ones keep the order of `gallery`. Memory beyond the features is bounded by `DISTANCES`.

    Args:
        probe: the queries.
        gallery: every image that is in any of the galleries.
        galleries: for each gallery the rows of `gallery` it consists of.
        hidden: gallery images to remove from a probe's lists.
        unit: what `Ranks.first` counts: persons, each at their nearest image (SYSU-MM01, LLCM), or images (Market-1501,
            RegDB).

    Returns:
        One `Ranks` a gallery, each over all probes.
    """
    gallery = Images(np.asarray(gallery.feature, np.float64), gallery.person_id, gallery.camera)
    squares = np.einsum("gd,gd->g", gallery.feature, gallery.feature)
    by_person = [rows[np.argsort(gallery.person_id[rows], kind="stable")] for rows in galleries]
    starts = [_starts(gallery.person_id[rows]) for rows in by_person]
    workers = os.cpu_count() or 1

    def chunk_ranks(start: int) -> list[Ranks]:
        keys = _keys(probe[start : start + rows_at_a_time], gallery, squares, hidden)
        return [
            _read(np.take(keys, rows, axis=1), edges, unit) for rows, edges in zip(by_person, starts, strict=True)
        ]

    rows_at_a_time = int(np.clip(DISTANCES // (workers * len(gallery)), 1, MAX_ROWS))
    with ThreadPoolExecutor(workers) as pool:  # NumPy sorts and multiplies outside the interpreter's lock
        chunks = list(pool.map(chunk_ranks, range(0, len(probe), rows_at_a_time)))
    return [_join(of_gallery) for of_gallery in zip(*chunks, strict=True)]


def summarise(trials: Sequence[Ranks]) -> dict:
    """Averages over the counted probes of each trial, then over trials.

    Returns:
        `cmc`: `CMC_LENGTH` shares in 0..1 from rank 1, `mAP`, `mINP`; `std`: of `rank1` and `mAP` over the trials (their
        root mean square deviation); `trials`: `rank1` and `mAP` of each; `counted_probes`: of the first trial.

    Raises:
        ValueError: where no probe counts.
    """
    if not all(trial.counted.any() for trial in trials):
        raise ValueError("No probe has a match that it may see in the gallery; check person_id and camera.")
    trials = [trial.select(trial.counted) for trial in trials]
    cmc = np.array([[np.mean(trial.first < k) for k in range(1, CMC_LENGTH + 1)] for trial in trials])
    precision = np.array([trial.average_precision.mean() for trial in trials])
    return {
        "cmc": cmc.mean(axis=0).tolist(),
        "mAP": float(precision.mean()),
        "mINP": float(np.mean([trial.inverse_penalty.mean() for trial in trials])),
        "std": {"rank1": float(cmc[:, 0].std()), "mAP": float(precision.std())},
        "trials": [{"rank1": float(r), "mAP": float(p)} for r, p in zip(cmc[:, 0], precision, strict=True)],
        "counted_probes": len(trials[0].counted),
    }


def _starts(person_id: Int[np.ndarray, "g"]) -> Int[np.ndarray, "persons"]:
    """Where each person begins in a list that is sorted by person."""
    return np.flatnonzero(np.diff(person_id, prepend=person_id[0] - 1))


def _keys(probe: Images, gallery: Images, squares: Float[np.ndarray, "g"], hidden: Hidden) -> np.ndarray:
    """int64 [probes, gallery], ordered as (squared distance, place in the gallery), the lowest bit 1 for a match."""
    feature = np.asarray(probe.feature, np.float64)
    distance = feature @ gallery.feature.T
    distance *= -2
    distance += squares
    distance += np.einsum("pd,pd->p", feature, feature)[:, None]
    np.maximum(distance, 0, out=distance)
    removed = hidden(probe, gallery)
    np.copyto(distance, np.inf, where=removed)
    match = (probe.person_id[:, None] == gallery.person_id) & ~removed

    keys = distance.view(np.int64)  # the bits of floats that are not negative are ordered as the floats are
    keys &= -(2 << len(gallery).bit_length())
    keys |= 2 * np.arange(len(gallery))
    keys |= match
    return keys


def _read(keys: np.ndarray, starts: Int[np.ndarray, "persons"], unit: str) -> Ranks:
    """Reads one gallery's ranked lists from its keys, int64 [probes, gallery], columns sorted by person."""
    ranked = np.sort(keys, axis=1)
    probe, place = np.divmod(np.flatnonzero((ranked & 1).astype(bool)), keys.shape[1])
    hits = np.bincount(probe, minlength=len(keys))
    counted = hits > 0
    end = np.cumsum(hits)
    begin = end - hits
    nth = np.arange(1, len(probe) + 1) - begin[probe]
    precision = np.bincount(probe, nth / (place + 1), minlength=len(keys)) / np.maximum(hits, 1)

    first, penalty = np.zeros(len(keys), np.int64), np.zeros(len(keys))
    first[counted] = place[begin[counted]]
    penalty[counted] = hits[counted] / (place[end[counted] - 1] + 1)
    if unit == "identity":
        nearest_hit = np.take_along_axis(ranked, first[:, None], axis=1)
        first = np.count_nonzero(np.minimum.reduceat(keys, starts, axis=1) < nearest_hit, axis=1)
    return Ranks(first, precision, penalty, counted)


def _join(chunks: Sequence[Ranks]) -> Ranks:
    """The probes of all chunks in their order."""
    return Ranks(
        np.concatenate([chunk.first for chunk in chunks]),
        np.concatenate([chunk.average_precision for chunk in chunks]),
        np.concatenate([chunk.inverse_penalty for chunk in chunks]),
        np.concatenate([chunk.counted for chunk in chunks]),
    )
