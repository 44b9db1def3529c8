"""Activation maps of the pairs of a ranked list."""

import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from rgbir_jax.run import Run
from rgbir_jax.search.pictures import Maps
from rgbir_jax.search.ranking import Images, Ranking


def maps_of(run: Run, ranking: Ranking) -> Maps:
    """Returns a function that computes the activation maps of a query's list, once for each query.

    Args:
        run: the run that computed the features.
        ranking: the lists.

    Returns:
        (number of the query) -> the map of the query with its first match, then that of each match, float32 [h, w];
        None for images whose file is gone.
    """

    @functools.cache
    def maps(number: int) -> list[Float32[np.ndarray, "h w"] | None]:
        query = Path(ranking.query.paths[number])
        matches = list(map(Path, ranking.paths[number]))
        there = [place for place, match in enumerate(matches) if query.is_file() and match.is_file()]
        pairs = run.explain(
            [query] * len(there),
            [matches[place] for place in there],
            _modality(ranking.query, np.repeat(number, len(there))),
            _modality(ranking.gallery, ranking.order[number][there]),
        )
        maps_of_matches: list[Float32[np.ndarray, "h w"] | None] = [None] * len(matches)
        for place, values in zip(there, pairs.gallery, strict=True):
            maps_of_matches[place] = values
        return [pairs.query[0] if there else None, *maps_of_matches]

    return maps


def _modality(images: Images, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"] | None:
    return None if images.modality is None else images.modality[rows]
