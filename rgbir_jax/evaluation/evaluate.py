"""Scores of features under any dataset's searches."""

import sys
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float

from rgbir_jax.datasets.records import Records
from rgbir_jax.datasets.search import Search
from rgbir_jax.evaluation import metrics
from rgbir_jax.evaluation.metrics import Images


def evaluate(features: Float[np.ndarray, "n d"], records: Records, searches: Sequence[Search]) -> dict[str, dict]:
    """Ranks the galleries of every search by Euclidean distance.

    Args:
        features: one per image.
        records: the table of these images, of which the searches name rows.
        searches: what to score.

    Returns:
        By the search's name what `metrics.summarise` gives, `gallery_images` of a trial, `probe_images`,
        `different_galleries` among the trials, and `AP`, the form of average precision.

    Raises:
        UserError: if no probe of a search has a match that it may see.
    """
    images = Images(features, records.person_id, records.camera, records.modality)
    groups: dict[tuple, list[Search]] = {}  # searches that one ranking of the union of their galleries serves
    for search in searches:
        groups.setdefault((search.hidden, search.unit), []).append(search)
    scores = {}
    for (hidden, unit), group in groups.items():
        probes = _in_order(records, [search.probes for search in group])
        galleries = {id(rows): rows for search in group for rows in search.galleries}
        union = _in_order(records, galleries.values())
        place = np.zeros(len(records), np.int64)
        place[union] = np.arange(len(union))
        ranks = metrics.rank(
            images[probes],
            images[union],
            [place[rows] for rows in galleries.values()],
            hidden,
            unit,
            trapezoid=any(search.ap == "trapezoid" for search in group),
        )
        ranks_in = dict(zip(galleries, ranks, strict=True))
        for search in group:
            asked = np.isin(probes, search.probes)
            trials = [ranks_in[id(rows)].select(asked) for rows in search.galleries]
            counts = {
                "gallery_images": len(search.galleries[0]),
                "probe_images": len(search.probes),
                "different_galleries": len({np.sort(rows).tobytes() for rows in search.galleries}),
            }
            scores[search.name] = metrics.summarise(trials, search.ap) | counts | {"AP": search.ap}
    return {search.name: scores[search.name] for search in searches}


def have_collapsed(features: Float[np.ndarray, "n d"]) -> bool:
    """Says whether the features of all images are equal, up to a thousandth of their largest number."""
    return len(features) > 1 and bool(np.ptp(features, axis=0).max() <= 1e-3 * np.abs(features).max())


def say_collapsed(features: Float[np.ndarray, "n d"], name: str) -> None:
    """Prints a line on stderr if features have collapsed: their scores would look like those of any others.

    Args:
        features: one per image.
        name: what they were computed by, or are from.
    """
    if have_collapsed(features):
        print(
            f"{name}: the features of all {len(features):,} images are equal, they have collapsed: ranks follow the "
            f"order of the images, and scores mean nothing.",
            file=sys.stderr,
        )


def chance(records: Records, searches: Sequence[Search]) -> dict[str, dict]:
    """Scores a ranking that knows nothing: the mean over five draws of random unit vectors as features."""

    def mean(*values):
        """Averages one figure over the draws. A text is the same in all of them."""
        return values[0] if isinstance(values[0], str) else type(values[0])(np.mean(values))

    draws = np.random.default_rng(0).normal(size=(5, len(records), 32))
    draws /= np.linalg.norm(draws, axis=2, keepdims=True)
    scores = [evaluate(features, records, searches) for features in draws]
    averages = jax.tree.map(mean, *scores)
    return {search.name: averages[search.name] for search in searches}  # jax.tree.map sorts the names


def _in_order(records: Records, rows) -> np.ndarray:
    """Joins arrays of rows: each row once, by person, camera and number."""
    union = np.unique(np.concatenate(list(rows)))
    return union[np.lexsort((records.index[union], records.camera[union], records.person_id[union]))]
