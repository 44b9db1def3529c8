"""Scores of features under any dataset's searches."""

import sys
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from rgbir_jax.datasets.records import Records
from rgbir_jax.datasets.search import Search
from rgbir_jax.evaluation import metrics, reranking
from rgbir_jax.evaluation.metrics import Images, Ranks
from rgbir_jax.evaluation.reranking import Reranking


def ranked(features: Float[np.ndarray, "n d"], records: Records, searches: Sequence[Search]) -> dict[str, list[Ranks]]:
    """Ranks the galleries of every search by Euclidean distance.

    Args:
        features: one per image.
        records: the table of these images, of which the searches name rows.
        searches: what to rank.

    Returns:
        By the search's name one `Ranks` per trial, with the probes in the order of `probes_of`.
    """
    images = Images(features, records.person_id, records.camera, records.modality)
    groups: dict[tuple, list[Search]] = {}  # searches that one ranking of the union of their galleries serves
    for search in searches:
        groups.setdefault((search.hidden, search.unit), []).append(search)
    trials = {}
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
            trials[search.name] = [ranks_in[id(rows)].select(asked) for rows in search.galleries]
    return {search.name: trials[search.name] for search in searches}


def reranked(
    features: Float[np.ndarray, "n d"],
    records: Records,
    searches: Sequence[Search],
    parameters: Reranking,
    progress: str = "",
) -> dict[str, list[Ranks]]:
    """Ranks as `ranked` does, by the distances of k-reciprocal re-ranking.

    The list of a trial is all probes of the search and the trial's gallery. A probe does not see the same images as
    without re-ranking, but they serve as neighbours.

    Args:
        features: see `ranked`.
        records: see `ranked`.
        searches: see `ranked`.
        parameters: k1, k2 and λ.
        progress: the name of the progress bar; empty for no bar.
    """
    images = Images(features, records.person_id, records.camera, records.modality)
    trials: dict[str, list[Ranks]] = {}
    total = sum(len(search.galleries) for search in searches)
    with tqdm(total=total, desc=progress, disable=not progress, leave=False) as bar:
        for search in searches:
            probes = probes_of(records, search)
            trials[search.name] = []
            for rows in search.galleries:
                gallery = _in_order(records, [rows])
                listed, places = np.unique(np.concatenate([probes, gallery]), return_inverse=True)
                of_probes, of_gallery = np.split(places, [len(probes)])
                (ranks,) = metrics.rank(
                    images[probes],
                    images[gallery],
                    [np.arange(len(gallery))],
                    search.hidden,
                    search.unit,
                    trapezoid=search.ap == "trapezoid",
                    other_distances=reranking.reranked(features[listed], of_probes, of_gallery, parameters),
                )
                trials[search.name].append(ranks)
                bar.update()
    return trials


def probes_of(records: Records, search: Search) -> Int[np.ndarray, "p"]:
    """Returns the rows of a search's probes in the order of its ranks: by person, camera and number."""
    return _in_order(records, [search.probes])


def summarised(trials: Mapping[str, Sequence[Ranks]], searches: Sequence[Search]) -> dict[str, dict]:
    """Averages ranks.

    Args:
        trials: the ranks of every search by its name.
        searches: the searches.

    Returns:
        By the search's name what `metrics.summarise` gives, `gallery_images` of a trial, `probe_images`,
        `different_galleries` among the trials, and `AP`, the form of average precision.

    Raises:
        UserError: if no probe of a search has a match that it may see.
    """
    return {
        search.name: metrics.summarise(trials[search.name], search.ap)
        | {
            "gallery_images": len(search.galleries[0]),
            "probe_images": len(search.probes),
            "different_galleries": len({np.sort(rows).tobytes() for rows in search.galleries}),
            "AP": search.ap,
        }
        for search in searches
    }


def evaluate(features: Float[np.ndarray, "n d"], records: Records, searches: Sequence[Search]) -> dict[str, dict]:
    """Ranks the galleries of every search by Euclidean distance, and averages; see `ranked` and `summarised`."""
    return summarised(ranked(features, records, searches), searches)


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
