"""Where a search fails: pairs of cameras, and the probes whose person is found last."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from rgbir_jax.datasets.records import Records
from rgbir_jax.datasets.search import Search
from rgbir_jax.evaluation import distances, metrics
from rgbir_jax.evaluation.evaluate import probes_of
from rgbir_jax.evaluation.metrics import Images

RANGES = {"1": (0, 1), "2–5": (1, 5), "6–10": (5, 10), "11–20": (10, 20), "21–50": (20, 50)}


@dataclass(frozen=True)
class CameraPairs:
    """What pairs of cameras do to a search. Entries are NaN for pairs that have no probe.

    Attributes:
        probe: the cameras of the probes.
        gallery: the cameras of the galleries.
        rank1: share of the probes of a camera that find their person first, among the images of one gallery camera.
        wrong: share of the probes of a camera whose nearest image in the whole gallery, from this gallery camera, shows
            somebody else.
        probes: number of probes behind `rank1`, over all trials.
    """

    probe: Int[np.ndarray, "p"]
    gallery: Int[np.ndarray, "g"]
    rank1: Float[np.ndarray, "p g"]
    wrong: Float[np.ndarray, "p g"]
    probes: Int[np.ndarray, "p g"]


def camera_pairs(features: Float[np.ndarray, "n d"], records: Records, search: Search) -> CameraPairs:
    """Scores a search for each pair of cameras, over all trials.

    Args:
        features: one per image.
        records: the table of these images, of which the search names rows.
        search: the search.
    """
    images = Images(features, records.person_id, records.camera, records.modality)
    probes, union = probes_of(records, search), np.unique(np.concatenate(search.galleries))
    cameras, of_gallery = records.camera[probes], records.camera[union]
    sides = np.unique(cameras), np.unique(of_gallery)
    trials = [np.searchsorted(union, rows) for rows in search.galleries]
    parts = [(g, rows[of_gallery[rows] == camera]) for rows in trials for g, camera in enumerate(sides[1])]
    parts = [(g, rows) for g, rows in parts if len(rows)]
    ranked = metrics.rank(images[probes], images[union], [rows for _, rows in parts], search.hidden, search.unit)
    place, shape = np.searchsorted(sides[0], cameras), (len(sides[0]), len(sides[1]))
    found, counted, wrong = np.zeros((3, *shape), np.int64)
    for (g, _), ranks in zip(parts, ranked, strict=True):
        found[:, g] += np.bincount(place[ranks.counted & (ranks.first == 0)], minlength=shape[0])
        counted[:, g] += np.bincount(place[ranks.counted], minlength=shape[0])
    for rows in trials:
        nearest = _nearest(images[probes], images[union[rows]], search)
        is_wrong = (nearest >= 0) & (records.person_id[probes] != records.person_id[union[rows]][nearest])
        pair = place * shape[1] + np.searchsorted(sides[1], of_gallery[rows][nearest])
        wrong += np.bincount(pair[is_wrong], minlength=shape[0] * shape[1]).reshape(shape)
    share = np.divide(found, counted, out=np.full(shape, np.nan), where=counted > 0)
    each = np.bincount(place, minlength=shape[0])[:, None] * len(trials)
    wrong = np.where((counted == 0) & (wrong == 0), np.nan, wrong / each)  # such probes do not see such images
    return CameraPairs(*sides, share, wrong, counted)


def rank_histogram(cmc: Sequence[float]) -> dict[str, float]:
    """Returns the share of probes whose person is found at ranks 1, 2 to 5, 6 to 10, ... and later.

    Args:
        cmc: shares of probes found within rank 1, 2, ..., 50.
    """
    within = [0.0, *cmc]
    return {name: within[end] - within[begin] for name, (begin, end) in RANGES.items()} | {"later": 1 - within[50]}


def _nearest(probe: Images, gallery: Images, search: Search) -> Int[np.ndarray, "p"]:
    """Returns the nearest visible gallery image of each probe; -1 for a probe that sees none."""
    feature = np.asarray(gallery.feature, np.float64)
    squares = distances.squares(feature)
    rows = max(distances.BLOCK // len(gallery), 1)
    nearest = []
    for block in (probe[start : start + rows] for start in range(0, len(probe), rows)):
        distance = distances.squared_distances(block.feature, feature, squares)
        distance[search.hidden(block, gallery)] = np.inf
        nearest.append(np.where(np.isinf(distance).all(axis=1), -1, distance.argmin(axis=1)))
    return np.concatenate(nearest)
