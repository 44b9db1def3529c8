"""Where a scored run fails, as sections of its report: ranks, pairs of cameras, the worst probes; and ranked lists."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from rgbir_jax.commands.scoring import Scored
from rgbir_jax.evaluation.disentanglement import Table
from rgbir_jax.evaluation.evaluate import probes_of
from rgbir_jax.evaluation.failures import CameraPairs, camera_pairs, rank_histogram
from rgbir_jax.evaluation.nearest import nearest
from rgbir_jax.evaluation.scores import earlier_stages
from rgbir_jax.visualize import curves, rankings, report

LISTS, WORST, LENGTH = 8, 6, 10
FRAMES = "Solid green with a tick: the same person; dashed red with a cross: somebody else."


def section(scored: Scored) -> report.Section:
    """Makes the section about failures in the first search."""
    search = scored.benchmark.searches[0]
    pairs = camera_pairs(scored.features, scored.benchmark.records, search)
    tables = _tables(pairs, search.title) if pairs.rank1.size > 1 else []
    texts = [f"All of this is about {search.title}."]
    if tables:
        texts.append(_hardest(pairs))
    return report.Section("Where it fails", texts, tables, [_histogram(scored), _worst(scored)])


def ranked_lists(scored: Scored) -> report.Section:
    """Draws the lists of probes from the best to the worst in the gallery of the first trial."""
    search = scored.benchmark.searches[0]
    probes = _one_per_person(scored, search.probes)
    *_, first = _nearest(scored, probes)
    probes = probes[np.argsort(first, kind="stable")]
    chosen = np.unique(np.linspace(0, len(probes) - 1, min(LISTS, len(probes))).astype(int))
    caption = (
        f"{search.title}: probes from the best found (top) to the worst (bottom), one per person, and their nearest "
        f"images in the gallery of the first trial, with identity, camera and distance. {FRAMES}"
    )
    return report.Section.of(report.Shown("rankings", "Ranked lists", caption, _lists(scored, probes[chosen], False)))


def _histogram(scored: Scored) -> report.Shown:
    search, scores = scored.benchmark.searches[0], scored.scores
    shares = {name: rank_histogram(scores[name][search.name]["cmc"]) for name in ("trained", *earlier_stages(scores))}
    unit = "persons" if search.unit == "identity" else "images"
    caption = f"Share of probes whose person is found at a rank, in %; ranks count {unit}; mean over the trials."
    return report.Shown("ranks", "At which rank the person is found", caption, curves.rank_histograms(shares))


def _worst(scored: Scored) -> report.Shown:
    search = scored.benchmark.searches[0]
    precision = scored.probes.figures[search.name, "trained", "AP"]
    probes = probes_of(scored.benchmark.records, search)
    order = np.argsort(precision, kind="stable")  # NaN, of probes without a match, comes last
    probes = _one_per_person(scored, probes[order][~np.isnan(precision[order])])
    *_, first = _nearest(scored, probes)
    worst = probes[first < len(search.galleries[0])][:WORST]  # the first trial's gallery can be without somebody
    caption = (
        f"The probes with the lowest average precision, one per person: their nearest images in the gallery of the "
        f"first trial, and, in the last column, the nearest image of their person, with its rank among all images. "
        f"{FRAMES}"
    )
    return report.Shown("worst", "The worst probes", caption, _lists(scored, worst, True))


def _lists(scored: Scored, probes: Int[np.ndarray, "p"], with_first: bool):
    """Draws the gallery images nearest to some probes; `with_first`: the last one is the nearest right one."""
    table, gallery = scored.benchmark.records, scored.benchmark.searches[0].galleries[0]
    order, distance, first = _nearest(scored, probes)
    count = min(LENGTH, order.shape[1])
    places = np.tile(np.arange(count), (len(probes), 1))
    titles = [str(place + 1) for place in range(count)]
    if with_first:
        places[:, -1] = np.minimum(first, order.shape[1] - 1)
        titles[-1] = "right"
    ranked, distance = gallery[np.take_along_axis(order, places, 1)], np.take_along_axis(distance, places, 1)
    right = (table.person_id[ranked] == table.person_id[probes][:, None]) & np.isfinite(distance)

    def images(rows):
        return scored.source.read(scored.benchmark.rows[rows])

    def label(column: int, row: int, d: float, place: int) -> str:
        where = f"rank {place + 1}" if with_first and column == count - 1 else f"{d:.2f}"
        return f"{table.person_id[row]}, c{table.camera[row]}\n{where}"

    return rankings.ranked_lists(
        images(probes),
        images(ranked.ravel()).reshape(*ranked.shape, *scored.source.image_size, 3),
        right,
        [f"{table.person_id[row]}, camera {table.camera[row]}" for row in probes],
        [
            [label(*one) for one in zip(range(count), *line, strict=True)]
            for line in zip(ranked.tolist(), distance.tolist(), places.tolist(), strict=True)
        ],
        titles,
    )


def _nearest(
    scored: Scored, probes: Int[np.ndarray, "p"]
) -> tuple[Int[np.ndarray, "p g"], Float[np.ndarray, "p g"], Int[np.ndarray, "p"]]:
    """Ranks the gallery of the first trial: places, distances, and the place of the person's first image."""
    table, search = scored.benchmark.records, scored.benchmark.searches[0]
    gallery = search.galleries[0]
    hidden = search.hidden(table.select(probes), table.select(gallery))
    order, distance = nearest(scored.features[probes], scored.features[gallery], hidden=hidden)
    right = (table.person_id[gallery[order]] == table.person_id[probes][:, None]) & np.isfinite(distance)
    return order, distance, np.where(right.any(axis=1), right.argmax(axis=1), len(gallery))


def _one_per_person(scored: Scored, probes: Int[np.ndarray, "p"]) -> Int[np.ndarray, "q"]:
    """Returns the first probe of each person, in the order of the probes."""
    _, first = np.unique(scored.benchmark.records.person_id[probes], return_index=True)
    return probes[np.sort(first)]


def _tables(pairs: CameraPairs, title: str) -> list[Table]:
    head = ["", *(f"gallery camera {camera}" for camera in pairs.gallery)]

    def rows(cells: Sequence[Sequence[str]]) -> list[list[str]]:
        return [[f"probe camera {camera}", *line] for camera, line in zip(pairs.probe, cells, strict=True)]

    def percent(share: float) -> str:
        return "-" if np.isnan(share) else f"{100 * share:.1f}"

    return [
        Table(
            f"Rank-1 if the gallery has one camera only, in %; {title}, all trials",
            head,
            rows([list(map(percent, line)) for line in pairs.rank1]),
        ),
        Table(
            "Probes whose nearest image in the whole gallery shows somebody else, by the camera of that image, in %",
            [*head, "together"],
            rows([[*map(percent, line), percent(np.nansum(line))] for line in pairs.wrong]),
        ),
    ]


def _hardest(pairs: CameraPairs) -> str:
    """Names the pairs of cameras with the lowest and the highest rank-1."""
    ordered = np.argsort(np.where(np.isnan(pairs.rank1), np.inf, pairs.rank1), axis=None)
    ordered = ordered[: np.count_nonzero(~np.isnan(pairs.rank1))].tolist()

    def named(place: int) -> str:
        p, g = np.unravel_index(place, pairs.rank1.shape)
        return f"camera {pairs.probe[p]} in camera {pairs.gallery[g]} (rank-1 {pairs.rank1[p, g]:.1%})"

    return f"Hardest is to find somebody of {named(ordered[0])}, easiest somebody of {named(ordered[-1])}."
