"""Ranked lists and what is read from them: CMC, mAP and mINP, for many probes and several galleries at once.

A gallery image's distance to a probe, its place in the gallery and whether it shows the probe's person are
packed into one integer. Sorting these integers ranks the gallery as a stable sort of the distances would, and
the lowest bit of each then says whether that rank is a hit: no index array is sorted along, and no probe has
a loop of its own. All galleries are read from the one ranking of their union, so that ten trials share the
distances and the sort.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

DISTANCES = 2**25  # held at a time: 256 MiB, and about three times that at the peak
MAX_ROWS = 64  # probes that a thread ranks at a time: more gain nothing, fewer stay in the cache
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


# How AP is computed from a ranked list. "hits": the mean of the precision at each hit, the usual form.
# "trapezoid": the area under the precision-recall curve by trapezoids, as in Market-1501's own program.
AP = Literal["hits", "trapezoid"]

# Which gallery images a probe does not see: (probe, gallery) -> bool [probes, gallery].
Hidden = Callable[[Images, Images], Bool[np.ndarray, "p g"]]


@dataclass(frozen=True)
class Ranks:
    """What one gallery's ranked lists say of each of n probes; meaningless where `counted` is False."""

    first: Int[np.ndarray, "n"]  # rank of the probe's person, from 0
    average_precision: Float[np.ndarray, "n"]  # AP of the form "hits"
    inverse_penalty: Float[np.ndarray, "n"]  # hits / rank of the last hit from 1: AGW's INP
    counted: Bool[np.ndarray, "n"]  # the gallery holds an image of the probe's person that the probe may see
    trapezoid: Float[np.ndarray, "n"] | None = None  # AP of that form; None unless `rank` was asked for it

    def select(self, mask: Bool[np.ndarray, "n"]) -> "Ranks":
        """The probes under `mask`."""
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
) -> list[Ranks]:
    """Ranks several galleries by Euclidean distance to each probe.

    Distances are float64 whatever the features are. Those that agree in about 52 - log2(gallery) bits of
    their square count as equal, and equal ones keep the order of `gallery`. Memory beyond the features is
    bounded by `DISTANCES`.

    Args:
        probe: the queries.
        gallery: every image that is in any of the galleries.
        galleries: for each gallery the rows of `gallery` it consists of.
        hidden: gallery images to remove from a probe's lists.
        unit: what `Ranks.first` counts: persons, each at their nearest image (SYSU-MM01, LLCM), or images
            (Market-1501, RegDB).
        trapezoid: whether to compute `Ranks.trapezoid` too.

    Returns:
        One `Ranks` a gallery, each over all probes.
    """
    gallery = Images(np.asarray(gallery.feature, np.float64), gallery.person_id, gallery.camera)
    squares = np.einsum("gd,gd->g", gallery.feature, gallery.feature)
    lists = [_List.of(rows, gallery.person_id) for rows in galleries]
    workers = os.cpu_count() or 1
    held = max(DISTANCES // len(gallery), 1)
    rows = int(np.clip(held // workers, 1, MAX_ROWS))

    def chunk_ranks(products: np.ndarray, some: Images) -> list[Ranks]:
        return _read(_keys(products, some, gallery, squares, hidden), lists, unit, trapezoid)

    chunks = []
    with ThreadPoolExecutor(workers) as pool:  # NumPy sorts and gathers outside the interpreter's lock
        for start in range(0, len(probe), held):
            block = probe[start : start + held]
            # Outside the threads: the product takes all cores by itself, and many probes at a time suit it better.
            products = -2 * np.asarray(block.feature, np.float64) @ gallery.feature.T
            parts = [slice(first, first + rows) for first in range(0, len(block), rows)]
            chunks += pool.map(chunk_ranks, [products[part] for part in parts], [block[part] for part in parts])
    return [_join(of_gallery) for of_gallery in zip(*chunks, strict=True)]


def summarise(trials: Sequence[Ranks], ap: AP = "hits") -> dict:
    """Averages over the counted probes of each trial, then over trials.

    Args:
        trials: the ranks in each trial's gallery.
        ap: the form of AP that mAP averages. For "trapezoid", `rank` must have computed it.

    Returns:
        `cmc`: `CMC_LENGTH` shares in 0..1 from rank 1, `mAP`, `mINP`; `std`: of `rank1` and `mAP` over the
            trials (their root mean square deviation); `trials`: `rank1` and `mAP` of each; `counted_probes`:
            of the first trial.

    Raises:
        ValueError: if no probe counts.
    """
    if not all(trial.counted.any() for trial in trials):
        raise ValueError("No probe has a match that it may see in the gallery; check person_id and camera.")
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
    """One gallery among all gallery images."""

    rows: np.ndarray  # its images, sorted by person
    starts: np.ndarray  # where each person begins in `rows`
    member: np.ndarray  # bool [all gallery images]

    @classmethod
    def of(cls, rows: np.ndarray, person_id: np.ndarray) -> "_List":
        member = np.zeros(len(person_id), bool)
        member[rows] = True
        rows = rows[np.argsort(person_id[rows], kind="stable")]
        return cls(rows, np.flatnonzero(np.diff(person_id[rows], prepend=person_id[rows[0]] - 1)), member)


def _keys(
    products: np.ndarray, probe: Images, gallery: Images, squares: Float[np.ndarray, "g"], hidden: Hidden
) -> np.ndarray:
    """int64 [probes, gallery], ordered as (distance, place in the gallery), lowest bit 1 for a match.

    They are made in the memory of `products`, -2 p·g.
    """
    feature = np.asarray(probe.feature, np.float64)
    distance = products
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


def _read(keys: np.ndarray, lists: Sequence[_List], unit: str, trapezoid: bool) -> list[Ranks]:
    """Reads every gallery's ranked lists from the keys, int64 [probes, all gallery images].

    All images are sorted once. A hit's place in one gallery is then the number of its members before the hit;
    as many galleries are counted at a time as counts fit side by side into 64 bits.
    """
    ranked = np.sort(keys, axis=1)
    hit = np.flatnonzero((ranked & 1).astype(bool))
    probe = hit // keys.shape[1]
    image = (ranked & ((2 << keys.shape[1].bit_length()) - 1)) >> 1
    image_hit, key_hit = image.ravel()[hit], ranked.ravel()[hit]

    bits = max(len(one.rows) for one in lists).bit_length()
    ranks = []
    for begin in range(0, len(lists), 64 // bits):
        together = lists[begin : begin + 64 // bits]
        ones = np.zeros(keys.shape[1], np.uint64)
        for lane, one in enumerate(together):
            ones |= one.member.astype(np.uint64) << np.uint64(bits * lane)
        # Members before a hit: those from its row to the last, less those from the hit on; exact modulo 2^64.
        from_hit = np.cumsum(np.add.reduceat(np.take(ones, image).ravel(), hit)[::-1])[::-1]
        before = (len(keys) - probe).astype(np.uint64) * ones.sum() - from_hit
        for lane, one in enumerate(together):
            mine = one.member[image_hit]
            place = (before[mine] >> np.uint64(bits * lane) & np.uint64((1 << bits) - 1)).astype(np.int64)
            ranks.append(_figures(keys, one, probe[mine], place, key_hit[mine], unit, trapezoid))
    return ranks


def _figures(
    keys: np.ndarray,
    one: _List,
    probe: np.ndarray,
    place: np.ndarray,
    key: np.ndarray,
    unit: str,
    trapezoid: bool,
) -> Ranks:
    """One gallery's figures from its hits, in the order of (probe, place): int64 [hits] each."""
    hits = np.bincount(probe, minlength=len(keys))
    counted = hits > 0
    end = np.cumsum(hits)
    begin = end - hits
    nth = np.arange(1, len(probe) + 1) - begin[probe]

    def mean_over_hits(values: np.ndarray) -> np.ndarray:
        return np.bincount(probe, values, minlength=len(keys)) / np.maximum(hits, 1)

    precision, area = mean_over_hits(nth / (place + 1)), None
    if trapezoid:
        # One trapezoid per hit, from the precision just before it to that at it. Before the first rank it counts as 1.
        before_hit = np.divide(nth - 1, place, out=np.ones(len(place)), where=place > 0)
        area = (mean_over_hits(before_hit) + precision) / 2

    first, penalty = np.zeros(len(keys), np.int64), np.zeros(len(keys))
    penalty[counted] = hits[counted] / (place[end[counted] - 1] + 1)
    nearest = begin[counted]
    if unit == "image":
        first[counted] = place[nearest]
    else:
        of_person = np.minimum.reduceat(np.take(keys, one.rows, axis=1), one.starts, axis=1)
        first[counted] = np.count_nonzero(of_person[counted] < key[nearest, None], axis=1)
    return Ranks(first, precision, penalty, counted, area)


def _join(chunks: Sequence[Ranks]) -> Ranks:
    """The probes of all chunks in their order."""
    areas = [chunk.trapezoid for chunk in chunks if chunk.trapezoid is not None]
    return Ranks(
        np.concatenate([chunk.first for chunk in chunks]),
        np.concatenate([chunk.average_precision for chunk in chunks]),
        np.concatenate([chunk.inverse_penalty for chunk in chunks]),
        np.concatenate([chunk.counted for chunk in chunks]),
        np.concatenate(areas) if areas else None,
    )
