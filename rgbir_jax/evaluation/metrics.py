"""Ranked lists and their scores (CMC, mAP, mINP) for many probes and several galleries at once.

The distance of a gallery image to a probe, its position in the gallery and whether it shows the probe's person are
packed into one integer. Sorting these integers ranks the gallery as a stable sort of the distances would, and the
lowest bit then tells whether that rank is a hit. This needs no index array and no loop over probes. All galleries are
read from the ranking of their union, so ten trials share the distances and the sort.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from rgbir_jax.datasets.search import AP, Hidden
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import distances

MAX_ROWS = 64  # probes that a thread ranks at a time: more are not faster; this few fit in the cache
CMC_LENGTH = 50


@dataclass(frozen=True)
class Images:
    """Images to compare: one row per image."""

    feature: Float[np.ndarray, "n d"]
    person_id: Int[np.ndarray, "n"]
    camera: Int[np.ndarray, "n"]
    modality: Int[np.ndarray, "n"] | None = None  # None: the search does not ask for it

    def __len__(self) -> int:
        return len(self.person_id)

    def __getitem__(self, rows: slice | np.ndarray) -> "Images":
        modality = None if self.modality is None else self.modality[rows]
        return Images(self.feature[rows], self.person_id[rows], self.camera[rows], modality)


@dataclass(frozen=True)
class Ranks:
    """Scores of n probes in one gallery. They are meaningless for probes whose `counted` is False."""

    first: Int[np.ndarray, "n"]  # rank of the probe's person, from 0
    average_precision: Float[np.ndarray, "n"]  # AP in the form "hits"
    inverse_penalty: Float[np.ndarray, "n"]  # number of hits / rank of the last hit, from 1: AGW's INP
    counted: Bool[np.ndarray, "n"]  # the gallery has a visible image of the probe's person
    trapezoid: Float[np.ndarray, "n"] | None = None  # AP in that form; None unless requested from `rank`

    def select(self, mask: Bool[np.ndarray, "n"]) -> "Ranks":
        """Returns the scores of the probes selected by `mask`."""
        return Ranks(
            self.first[mask],
            self.average_precision[mask],
            self.inverse_penalty[mask],
            self.counted[mask],
            None if self.trapezoid is None else self.trapezoid[mask],
        )


def rank(
    probe: Images,
    gallery: Images,
    galleries: Sequence[Int[np.ndarray, "_"]],
    hidden: Hidden,
    unit: Literal["identity", "image"],
    *,
    trapezoid: bool = False,
    other_distances: Callable[[slice], Float64[np.ndarray, "_ g"]] | None = None,
) -> list[Ranks]:
    """Ranks several galleries by Euclidean distance to each probe, or by other distances.

    Distances are float64, whatever the dtype of the features. Distances whose squares agree in about
    52 - log2(gallery) bits count as equal and keep the order of `gallery`. Memory beyond the features is bounded by
    `distances.DISTANCES`.

    Args:
        probe: the queries.
        gallery: all images of all galleries.
        galleries: the rows of `gallery` that make up each gallery.
        hidden: function that returns the gallery images to remove from each probe's lists.
        unit: what `Ranks.first` counts: persons, each at their nearest image (SYSU-MM01, LLCM), or images
            (Market-1501, RegDB).
        trapezoid: whether to compute `Ranks.trapezoid` as well.
        other_distances: (probes) -> their distances, 0 or more, to all of `gallery`, which are overwritten; None:
            the Euclidean distances of the features.

    Returns:
        One `Ranks` per gallery, each with all probes.
    """
    gallery = replace(gallery, feature=np.asarray(gallery.feature, np.float64))
    squares = distances.squares(gallery.feature)
    lists = [_List.of(rows, gallery.person_id) for rows in galleries]
    workers = os.cpu_count() or 1
    block_rows = max(distances.DISTANCES // len(gallery), 1)
    rows = int(np.clip(block_rows // workers, 1, MAX_ROWS))

    def chunk_ranks(values: np.ndarray, probes: Images) -> list[Ranks]:
        distance = values if other_distances else distances.complete(values, probes.feature, squares)
        return _read(_keys(distance, probes, gallery, hidden), lists, unit, trapezoid)

    chunks = []
    with ThreadPoolExecutor(workers) as pool:  # NumPy releases the interpreter's lock to sort and gather
        for start in range(0, len(probe), block_rows):
            block = probe[start : start + block_rows]
            # Outside the threads: the product uses all cores itself and is faster for many probes at a time.
            if other_distances:
                values = other_distances(slice(start, start + block_rows))
            else:
                values = distances.products(block.feature, gallery.feature)
            parts = [slice(first, first + rows) for first in range(0, len(block), rows)]
            chunks += pool.map(chunk_ranks, [values[part] for part in parts], [block[part] for part in parts])
    return [_join(gallery_chunks) for gallery_chunks in zip(*chunks, strict=True)]


def summarise(trials: Sequence[Ranks], ap: AP = "hits") -> dict:
    """Averages scores over the counted probes of each trial, then over trials.

    Args:
        trials: the ranks in each trial's gallery.
        ap: the form of AP that mAP averages. "trapezoid" needs `rank(..., trapezoid=True)`.

    Returns:
        `cmc`: `CMC_LENGTH` fractions in 0..1 from rank 1; `mAP`; `mINP`; `std`: root mean square deviations of `rank1`
            and `mAP` over the trials; `trials`: `rank1` and `mAP` of each trial; `counted_probes`: the number of
            counted probes of the first trial.

    Raises:
        UserError: if no probe of a trial is counted.
    """
    if not all(trial.counted.any() for trial in trials):
        raise UserError("No probe has a match among the gallery images it may see; check person_id and camera.")
    trials = [trial.select(trial.counted) for trial in trials]
    cmc = np.array([[np.mean(trial.first < k) for k in range(1, CMC_LENGTH + 1)] for trial in trials])
    form = "trapezoid" if ap == "trapezoid" else "average_precision"
    precision = np.array([getattr(trial, form).mean() for trial in trials])
    return {
        "cmc": cmc.mean(axis=0).tolist(),
        "mAP": float(precision.mean()),
        "mINP": float(np.mean([trial.inverse_penalty.mean() for trial in trials])),
        "std": {"rank1": float(cmc[:, 0].std()), "mAP": float(precision.std())},
        "trials": [{"rank1": float(r), "mAP": float(p)} for r, p in zip(cmc[:, 0], precision, strict=True)],
        "counted_probes": len(trials[0].counted),
    }


@dataclass(frozen=True)
class _List:
    """One gallery, as a subset of all gallery images."""

    rows: np.ndarray  # rows of its images, sorted by person
    starts: np.ndarray  # index in `rows` of each person's first image
    member: np.ndarray  # bool [all gallery images]

    @classmethod
    def of(cls, rows: np.ndarray, person_id: np.ndarray) -> "_List":
        member = np.zeros(len(person_id), bool)
        member[rows] = True
        rows = rows[np.argsort(person_id[rows], kind="stable")]
        return cls(rows, np.flatnonzero(np.diff(person_id[rows], prepend=person_id[rows[0]] - 1)), member)


def _keys(distance: Float64[np.ndarray, "p g"], probe: Images, gallery: Images, hidden: Hidden) -> np.ndarray:
    """Packs int64 keys [probes, gallery], ordered as (distance, position in the gallery); lowest bit 1 for a match.

    The keys overwrite the distances.
    """
    removed = hidden(probe, gallery)
    np.copyto(distance, np.inf, where=removed)
    match = (probe.person_id[:, None] == gallery.person_id) & ~removed
    keys = distances.keys(distance)
    keys |= match
    return keys


def _read(keys: np.ndarray, lists: Sequence[_List], unit: str, trapezoid: bool) -> list[Ranks]:
    """Reads every gallery's ranked lists from the keys, int64 [probes, all gallery images].

    All images are sorted once. The position of a hit in one gallery is then the number of the gallery's images before
    the hit. One uint64 holds the counts of as many galleries as fit side by side into its 64 bits.
    """
    ranked = np.sort(keys, axis=1)
    hit = np.flatnonzero((ranked & 1).astype(bool))
    probe = hit // keys.shape[1]
    image = distances.places(ranked, keys.shape[1])
    image_hit, key_hit = image.ravel()[hit], ranked.ravel()[hit]

    bits = max(len(gallery.rows) for gallery in lists).bit_length()
    ranks = []
    for begin in range(0, len(lists), 64 // bits):
        packed = lists[begin : begin + 64 // bits]
        ones = np.zeros(keys.shape[1], np.uint64)  # per image: a 1 in the lane of each gallery that contains it
        for lane, gallery in enumerate(packed):
            ones |= gallery.member.astype(np.uint64) << np.uint64(bits * lane)
        # Members before a hit: those from its row to the last, minus those from the hit on; exact modulo 2^64.
        from_hit = np.cumsum(np.add.reduceat(np.take(ones, image).ravel(), hit)[::-1])[::-1]
        before = (len(keys) - probe).astype(np.uint64) * ones.sum() - from_hit
        for lane, gallery in enumerate(packed):
            is_member = gallery.member[image_hit]
            place = (before[is_member] >> np.uint64(bits * lane) & np.uint64((1 << bits) - 1)).astype(np.int64)
            ranks.append(_figures(keys, gallery, probe[is_member], place, key_hit[is_member], unit, trapezoid))
    return ranks


def _figures(
    keys: np.ndarray,
    gallery: _List,
    probe: np.ndarray,
    place: np.ndarray,
    key: np.ndarray,
    unit: str,
    trapezoid: bool,
) -> Ranks:
    """Computes the scores in one gallery from its hits, ordered by (probe, place): int64 [hits] each."""
    hits = np.bincount(probe, minlength=len(keys))
    counted = hits > 0
    end = np.cumsum(hits)
    begin = end - hits
    nth = np.arange(1, len(probe) + 1) - begin[probe]

    def mean_over_hits(values: np.ndarray) -> np.ndarray:
        return np.bincount(probe, values, minlength=len(keys)) / np.maximum(hits, 1)

    precision, area = mean_over_hits(nth / (place + 1)), None
    if trapezoid:
        # One trapezoid per hit, from the precision just before the hit to that at it; before rank 1 precision is 1.
        before_hit = np.divide(nth - 1, place, out=np.ones(len(place)), where=place > 0)
        area = (mean_over_hits(before_hit) + precision) / 2

    first, penalty = np.zeros(len(keys), np.int64), np.zeros(len(keys))
    penalty[counted] = hits[counted] / (place[end[counted] - 1] + 1)
    nearest = begin[counted]
    if unit == "image":
        first[counted] = place[nearest]
    else:
        of_person = np.minimum.reduceat(np.take(keys, gallery.rows, axis=1), gallery.starts, axis=1)
        first[counted] = np.count_nonzero(of_person[counted] < key[nearest, None], axis=1)
    return Ranks(first, precision, penalty, counted, area)


def _join(chunks: Sequence[Ranks]) -> Ranks:
    """Joins the probes of all chunks in order."""
    areas = [chunk.trapezoid for chunk in chunks if chunk.trapezoid is not None]
    return Ranks(
        np.concatenate([chunk.first for chunk in chunks]),
        np.concatenate([chunk.average_precision for chunk in chunks]),
        np.concatenate([chunk.inverse_penalty for chunk in chunks]),
        np.concatenate([chunk.counted for chunk in chunks]),
        np.concatenate(areas) if areas else None,
    )
