"""Do two images show the same person? ROC, EER and TPR at small FPR over the pairs that a search allows.

A pair is a probe and an image of one of the galleries that the probe may see; a pair that several trials draw counts
once. Two images are taken for the same person if their Euclidean distance is at most a threshold. Pairs at the same
distance are accepted together.

TPR is the share of the pairs of one person that are accepted, FPR that of the pairs of two persons. Only the distances
of the former are kept. Those of the latter, which are many more, are counted between them, block by block.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from rgbir_jax.datasets.records import Records
from rgbir_jax.datasets.search import Hidden, Search
from rgbir_jax.evaluation import distances
from rgbir_jax.evaluation.metrics import Images

RATES = (1e-2, 1e-3, 1e-4)
SUPPORT = 10  # pairs of two persons that a rate must stand for
CURVE = tuple(10 ** (exponent / 10) for exponent in range(-40, 1))  # FPRs at which scores.json has the ROC
_BITS = 40  # of squared distances, from the largest possible one: what differs below, rounding may have made different


@dataclass(frozen=True)
class Roc:
    """The exact ROC of pairs, at each distance that a pair of one person has.

    Attributes:
        distance: the distances, ascending.
        same: number of pairs of one person at most so far apart.
        closer: number of pairs of two persons that are closer.
        different: number of pairs of two persons at most so far apart.
        different_pairs: number of pairs of two persons.
    """

    distance: Float64[np.ndarray, "n"]
    same: Int64[np.ndarray, "n"]
    closer: Int64[np.ndarray, "n"]
    different: Int64[np.ndarray, "n"]
    different_pairs: int

    @property
    def same_pairs(self) -> int:
        """The number of pairs of one person."""
        return int(self.same[-1])

    def at(self, fpr: float) -> dict:
        """Finds the largest TPR whose FPR is at most `fpr`.

        Returns:
            `tpr`; `threshold`, the distance, None if it accepts no pair of one person; `false_matches`, the pairs of
            two persons that it accepts. If `fpr` stands for fewer than `SUPPORT` pairs: `tpr` None, and the `reason`.
        """
        allowed = math.floor(fpr * self.different_pairs * (1 + 1e-12))  # 0.29 * 100 is less than 29
        if allowed < SUPPORT:
            pairs = f"{self.different_pairs:,} pairs of two persons"
            return {"tpr": None, "reason": f"FPR {fpr:g} of {pairs} is {allowed} pairs; {SUPPORT} are needed"}
        accepted = int(np.searchsorted(self.different, allowed, "right"))
        if not accepted:
            return {"tpr": 0.0, "threshold": None, "false_matches": 0}
        return {
            "tpr": float(self.same[accepted - 1] / self.same_pairs),
            "threshold": float(self.distance[accepted - 1]),
            "false_matches": int(self.different[accepted - 1]),
        }

    def eer(self) -> float | None:
        """Returns the FPR at which 1 - TPR is the same, on straight lines between the points of the ROC.

        It is None if there are fewer than `SUPPORT` pairs of two persons.
        """
        if self.different_pairs < SUPPORT:
            return None
        before = np.concatenate([[0], self.same[:-1]])
        same = np.concatenate([[0], np.stack([before, self.same], axis=1).ravel(), [self.same_pairs]])
        different = np.concatenate(
            [[0], np.stack([self.closer, self.different], axis=1).ravel(), [self.different_pairs]]
        )
        tpr, fpr = same / self.same_pairs, different / self.different_pairs
        return float(np.interp(0, fpr + tpr - 1, fpr))


def roc(images: Images, search: Search) -> Roc:
    """Computes the ROC of a search's pairs.

    Memory beyond the features is bounded by a few `distances.BLOCK` and the pairs of one person.

    Args:
        images: the images whose rows the search names.
        search: its probes and the union of its galleries make the pairs. One probe at least has a match.
    """
    probe, gallery = images[search.probes], images[np.unique(np.concatenate(search.galleries))]
    largest = 2 * (distances.squares(probe.feature).max() + distances.squares(gallery.feature).max())
    step = 2.0 ** (np.frexp(largest)[1] - _BITS)
    same = [steps[allowed & one] for steps, allowed, one in _blocks(probe, gallery, search.hidden, step)]
    squared, counts = np.unique(np.concatenate(same), return_counts=True)
    closer, different = np.zeros((2, len(squared)), np.int64)
    different_pairs = 0
    for steps, allowed, one_person in _blocks(probe, gallery, search.hidden, step):
        of_two = np.sort(steps[allowed & ~one_person])
        closer += np.searchsorted(of_two, squared, "left")
        different += np.searchsorted(of_two, squared, "right")
        different_pairs += len(of_two)
    # Half a step further, so that a threshold accepts the pair that it comes from.
    return Roc(np.sqrt((squared + 0.5) * step), np.cumsum(counts), closer, different, different_pairs)


def verification(features: Float[np.ndarray, "n d"], records: Records, searches: Sequence[Search]) -> dict[str, dict]:
    """Measures how well distances tell whether two images show the same person.

    Args:
        features: one per image.
        records: the table of these images, of which the searches name rows.
        searches: each has a probe with a match.

    Returns:
        By the search's name the numbers of `same_pairs` and `different_pairs`, `eer`, `tpr_at_fpr` (what `Roc.at`
        gives by the FPR as text, such as "0.001") and `roc`: `fpr` and `tpr`, None where there are too few pairs.
    """
    images = Images(features, records.person_id, records.camera, records.modality)
    measured: dict[tuple, dict] = {}
    results = {}
    for search in searches:
        # Market-1501's two forms of AP are searches among the same pairs.
        pairs = (search.hidden, search.probes.tobytes(), *(rows.tobytes() for rows in search.galleries))
        if pairs not in measured:
            measured[pairs] = figures(roc(images, search))
        results[search.name] = measured[pairs]
    return results


def with_verification(
    scores: dict[str, dict], features: Float[np.ndarray, "n d"], records: Records, searches: Sequence[Search]
) -> dict[str, dict]:
    """Adds `verification` to the scores of every search."""
    measured = verification(features, records, searches)
    return {search: scored | {"verification": measured[search]} for search, scored in scores.items()}


def figures(curve: Roc) -> dict:
    """Returns the figures of a ROC, see `verification`."""
    return {
        "same_pairs": curve.same_pairs,
        "different_pairs": curve.different_pairs,
        "eer": curve.eer(),
        "tpr_at_fpr": {f"{rate:g}": curve.at(rate) for rate in RATES},
        "roc": {"fpr": list(CURVE), "tpr": [curve.at(rate)["tpr"] for rate in CURVE]},
    }


def _blocks(
    probe: Images, gallery: Images, hidden: Hidden, step: float
) -> Iterator[tuple[Float64[np.ndarray, "p g"], Bool[np.ndarray, "p g"], Bool[np.ndarray, "p g"]]]:
    """Goes through the pairs of some probes at a time with the whole gallery.

    Yields:
        Squared distances in whole steps; which of them are pairs; which show one person.
    """
    feature = np.asarray(gallery.feature, np.float64)
    squares = distances.squares(feature)
    rows = max(distances.BLOCK // len(gallery), 1)
    for block in (probe[start : start + rows] for start in range(0, len(probe), rows)):
        steps = distances.squared_distances(block.feature, feature, squares)
        steps /= step
        np.rint(steps, out=steps)
        yield steps, ~hidden(block, gallery), block.person_id[:, None] == gallery.person_id
