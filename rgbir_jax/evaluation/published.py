"""Published results: the rows of the paper's Tables 6, 7 and 8, and rows from other papers. None is from this code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

PAPER, ELSEWHERE, RUN = "the paper", "published elsewhere", "this code"  # where a row comes from
TERMS = ("L_simple", "L_dis", "L_cross", "L_triplet")  # in the order of Table 6
RANK = {"r1": 1, "r10": 10, "r20": 20}
_TOP = ("r1", "mAP")
_RANKS = (*RANK, "mAP")
_ALL = (*_RANKS, "mINP")


@dataclass(frozen=True)
class Figure:
    """A score in percent; `std`: its standard deviation over the trials, or None if unknown."""

    mean: float
    std: float | None = None


@dataclass(frozen=True)
class Row:
    """One row of a table. `figures` has the table's columns by search; unknown figures are absent."""

    source: str  # PAPER, ELSEWHERE or RUN
    method: str  # the paper's name for it, if there is one
    figures: dict[str, dict[str, Figure]]
    dataset: str
    run: str | None = None  # name of the folder under --runs
    protocol: str | None = None
    steps: int | None = None  # training iterations of the scored weights, in the run's last stage
    seed: int | None = None


class Layout(NamedTuple):
    """The content of a table.

    Attributes:
        title: the table's name in the paper, if it has one, and what it is about.
        test_set: the dataset of the published rows.
        counts: by which the test set is recognised: a search, its probes, and its gallery images if they are known.
        searches: keys of scores.json by the words above their columns.
        columns: the columns of each search.
        published: the published rows.
        notes: what must be known about them.
        spread: what standard deviations are over.
    """

    title: str
    test_set: str
    counts: tuple[str, int, int | None]
    searches: Mapping[str, str]
    columns: tuple[str, ...]
    published: list[Row]
    notes: list[str]
    spread: str = "trials"


def _row(
    source: str,
    method: str,
    columns: Sequence[str],
    figures: Sequence[float | None],
    searches: Sequence[str] = ("single", "multi"),
    dataset: str = "SYSU-MM01",
    protocol: str | None = None,
) -> Row:
    """Builds a row from the printed figures, search by search; None if nothing is printed."""
    known = [None if value is None else Figure(value) for value in figures]
    parts = [known[i * len(columns) : (i + 1) * len(columns)] for i in range(len(searches))]
    by_search = {
        search: {name: value for name, value in zip(columns, part, strict=False) if value}
        for search, part in zip(searches, parts, strict=True)
    }
    return Row(source, method, by_search, dataset, protocol=protocol)


def _random_gallery(method: str, *figures: float | None) -> Row:
    """Builds a row of SYSU-MM01, single-shot, whose gallery images Python's `random` draws."""
    return _row(ELSEWHERE, method, _ALL, figures, protocol="agw")


def _official(source: str, method: str, *figures: float | None) -> Row:
    """Builds a row of SYSU-MM01 whose gallery images the dataset's own permutations draw."""
    return _row(source, method, _RANKS, figures, protocol="official")


def _regdb(method: str, *figures: float | None) -> Row:
    return _row(ELSEWHERE, method, _ALL, figures, tuple(_REGDB_SEARCHES), "RegDB", "all_images")


def _llcm(method: str, *figures: float) -> Row:
    return _row(ELSEWHERE, method, _RANKS, figures, ("I→V", "V→I"), "LLCM")


_OF_CMPIG = (
    "One-stream, two-stream, zero-padding, cmGAN and, in Table 7, D2RL are quoted from Table 1 of cmPIG (AAAI 2020). "
    "The published one-stream and zero-padding networks have a ResNet-6."
)
_OF_DEEN = "The rank-10 and rank-20 of DDAG and DEEN are quoted from Table 2 of DEEN's paper (CVPR 2023)."
_OF_A_SURVEY = "The other figures of DEEN, and those of RLE, are quoted from a survey."
_SYSU = "SYSU-MM01", ("all_single", 3803, 301)
_REGDB_SEARCHES = {"V→T": "visible_to_thermal", "T→V": "thermal_to_visible"}

LAYOUTS = {
    "6": Layout(
        "Table 6: SYSU-MM01, indoor search",
        *_SYSU,
        {"single": "indoor_single", "multi": "indoor_multi"},
        _TOP,
        [
            _row(PAPER, "L_simple + L_dis", _TOP, (1.33, 9.07)),
            _row(PAPER, "L_simple + L_dis + L_cross", _TOP, (8.44, 20.43)),
            _row(PAPER, "L_simple + L_dis + L_cross + L_triplet (random triplet)", _TOP, (14.25, 28.85)),
            _row(PAPER, "L_simple + L_dis + L_cross + L_triplet (hard triplet)", _TOP, (18.20, 34.56)),
        ],
        ["The paper does not say whether its Table 6 is single-shot or multi-shot; here it is under single-shot."],
    ),
    "7": Layout(
        "Table 7: SYSU-MM01, all search",
        *_SYSU,
        {"single": "all_single", "multi": "all_multi"},
        _ALL,
        [
            _official(PAPER, "BDTR", 17.01, 55.43, 71.96, 19.66),
            _official(PAPER, "SDL", 28.12, 70.23, 83.67, 29.01),
            _official(PAPER, "cmPIG", 38.1, 80.7, 89.9, 36.9, 45.1, 85.7, 93.8, 29.5),
            _official(PAPER, "Hi-CMD", 34.94, 77.58, None, 35.94),
            _row(PAPER, "Method1", _RANKS, (45.44, 88.85, 96.37, 46.84, 47.73, 90.30, 96.48, 40.12)),
            _row(PAPER, "Method2", _RANKS, (52.51, 92.01, 97.05, 49.51, 56.14, 93.56, 98.34, 43.81)),
            _row(ELSEWHERE, "released preset", _TOP, (11.49, 14.54)),
            _official(ELSEWHERE, "One-stream", 12.1, 49.7, 66.8, 13.7, 16.3, 58.2, 75.1, 8.59),
            _official(ELSEWHERE, "Two-stream", 11.7, 48.0, 65.5, 12.9, 16.4, 58.4, 74.5, 8.03),
            _official(ELSEWHERE, "Zero-padding", 14.8, 52.2, 71.4, 16.0, 19.2, 61.4, 78.5, 10.9),
            _official(ELSEWHERE, "cmGAN", 27.0, 67.5, 80.6, 27.8, 31.5, 72.7, 85.0, 22.3),
            _official(ELSEWHERE, "D2RL", 28.9, 70.6, 82.4, 29.2),
            _random_gallery("AGW", 47.50, 84.39, 92.14, 47.65, 35.30),
            _random_gallery("DDAG", 54.75, 90.4, 95.8, 53.02, 39.62),
            _official(ELSEWHERE, "Strong two-stream baseline", 57.51, 90.05, 95.28, 54.60),
            _random_gallery("CAJ", 69.88, 95.71, 98.46, 66.89, 53.61),
            _row(ELSEWHERE, "CAJ+", _TOP, (71.48, 68.15)),
            _random_gallery("DEEN", 74.70, 97.6, 99.2, 71.80),
            _random_gallery("RLE", 75.4, None, None, 72.4),
            _row(ELSEWHERE, "MSCMNet", _TOP, (78.53, 74.20)),
        ],
        [
            "The published BDTR has AlexNet streams; this code's has ResNet streams.",
            "The authors of Hi-CMD also print rank-20 88.38, in the README of their code.",
            "The strong two-stream baseline is that of the README of LuckyDC's code.",
            "The published row of the released preset is what the notebook of the paper's released code prints.",
            _OF_CMPIG + " Its rank-10 of zero-padding, 52.2, seems to be a slip: we recall 54.12 in the original.",
            "Rank-1, mAP and mINP of AGW, DDAG and CAJ are from the READMEs of their authors' code. The rank-10 and "
            "rank-20 of AGW and CAJ are remembered from the papers; those of CAJ agree with DEEN's Table 2.",
            _OF_DEEN,
            _OF_A_SURVEY,
            "The sources of CAJ+ and MSCMNet do not name their protocol.",
        ],
    ),
    "8": Layout(
        "Table 8: SYSU-MM01, indoor search",
        *_SYSU,
        {"single": "indoor_single", "multi": "indoor_multi"},
        _ALL,
        [
            _official(PAPER, "SDL", 32.56, 80.45, 90.67, 39.56),
            _official(PAPER, "cmPIG", 43.8, 86.2, 94.2, 52.9, 52.7, 91.1, 96.4, 42.7),
            _row(PAPER, "Method1", _RANKS, (51.95, 95.24, 98.78, 63.11, 52.65, 94.10, 98.35, 51.22)),
            _row(PAPER, "Method2", _RANKS, (53.53, 93.25, 97.74, 63.12, 62.16, 95.61, 98.77, 55.46)),
            _official(ELSEWHERE, "One-stream", 17.0, 63.6, 82.1, 23.0, 22.7, 71.8, 87.9, 15.1),
            _official(ELSEWHERE, "Two-stream", 15.6, 61.2, 81.1, 21.5, 22.5, 72.3, 88.7, 14.0),
            _official(ELSEWHERE, "Zero-padding", 20.6, 68.4, 85.8, 27.0, 24.5, 75.9, 91.4, 18.7),
            _official(ELSEWHERE, "cmGAN", 31.7, 77.2, 89.2, 42.2, 37.0, 80.9, 92.3, 32.8),
            _random_gallery("AGW", 54.17, 91.14, 95.98, 62.97, 59.23),
            _random_gallery("DDAG", 61.02, 94.1, 98.4, 67.98, 62.61),
            _random_gallery("CAJ", 76.26, 97.88, 99.49, 80.37, 76.79),
            _random_gallery("DEEN", 80.30, 99.0, 99.8, 83.30),
            _random_gallery("RLE", 84.7, None, None, 87.0),
        ],
        [
            "Rank-1, mAP and mINP of AGW and DDAG are from the README of DDAG's code, by the same authors. AGW's "
            "rank-10 and rank-20 and all figures of CAJ are remembered from the papers; those of CAJ agree with DEEN's "
            "Table 2, which has no mINP.",
            _OF_CMPIG,
            _OF_DEEN,
            _OF_A_SURVEY,
        ],
    ),
    "regdb": Layout(
        "RegDB",
        "RegDB",
        ("visible_to_thermal", 2060, 2060),
        _REGDB_SEARCHES,
        _ALL,
        [
            _regdb("BDTR", 33.6, 58.6, 67.4, 32.8, None, 32.9, 58.5, 68.4, 32.0),
            _regdb("D2RL", 43.4, 66.1, 76.3, 44.1),
            _regdb("cmPIG", 48.1, None, None, 48.9, None, 48.5, None, None, 49.3),
            _regdb("Hi-CMD", 70.93, 86.4, None, 65.93),
            _regdb("AGW", 70.05, None, None, 66.37, 50.19),
            _regdb("DDAG", 69.3, 86.2, 91.5, 63.5, None, 68.1, 85.2, 90.3, 61.8),
            _regdb("CAJ", 85.03, 95.5, 97.5, 79.14, 65.33, 84.8, 95.3, 97.5, 77.8),
            _regdb("DEEN", 91.1, 97.8, 98.9, 85.1, None, 89.5, 96.8, 98.4, 83.4),
        ],
        [
            "The published BDTR has AlexNet streams; this code's has ResNet streams. Its published demonstration "
            "prints rank-1 34.3, mAP 33.1.",
            "V→T looks for visible images among thermal ones.",
            "Quoted from Table 2 of DEEN's paper (CVPR 2023), which names the directions; rank-1, mAP and mINP of "
            "Hi-CMD, AGW and CAJ under V→T are from the READMEs of their authors' code, which do not. Hi-CMD's rank-1 "
            "is a mean over ten folds and its mAP is of the first.",
            "Runs that differ only in their fold are one row, their mean; the column `run` names the folds.",
        ],
        "folds",
    ),
    "llcm": Layout(
        "LLCM",
        "LLCM",
        ("infrared_to_visible", 7166, None),
        {"V→I": "visible_to_infrared", "I→V": "infrared_to_visible"},
        _ALL,
        [
            _llcm("DDAG", 42.36, 72.69, 80.63, 48.97, 51.42, 81.45, 88.26, 38.77),
            _llcm("LbA", 42.76, 77.40, 86.11, 50.95, 54.78, 85.12, 91.63, 40.81),
            _llcm("AGW", 49.13, 79.06, 85.89, 55.80, 63.72, 88.66, 92.83, 47.21),
            _llcm("CAJ", 49.86, 78.91, 85.83, 56.40, 63.73, 87.95, 92.41, 47.71),
            _llcm("MMN", 50.14, 79.81, 87.27, 56.66, 63.97, 88.66, 93.05, 48.47),
            _llcm("MRCN", 51.32, 80.10, 87.17, 57.74, 65.27, 88.11, 93.13, 49.45),
            _llcm("DART", 52.97, 80.82, 87.05, 59.28, 65.33, 89.42, 93.33, 51.13),
            _llcm("DEEN", 55.52, 83.88, 89.98, 62.07, 69.21, 90.95, 95.07, 55.52),
        ],
        [
            "V→I looks for visible images among infrared ones.",
            "Published figures are those of the README of the dataset's authors' code, which replace those of their "
            "paper. It does not name the directions; I→V is taken to be the first, as in code that is built on it.",
        ],
    ),
}
