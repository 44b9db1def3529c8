"""The paper's Tables 6, 7 and 8, and beside their rows what runs of this code scored.

Which row a run belongs to is read from its config: what its last stage is, which terms that stage has and the choices
on which the paper and DG-Net part ways. Rows on drawn people stand in a block of their own, without the paper's.
"""

import functools
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

SHOTS = ("single", "multi")


@dataclass(frozen=True)
class Figure:
    """A score in percent; `std`: its standard deviation over the trials, None where there is none."""

    mean: float
    std: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of a table; `single` and `multi` map the table's columns to figures, and lack what is not known."""

    source: str  # one of the three below
    method: str  # under the paper's name, if it has one
    single: dict[str, Figure]
    multi: dict[str, Figure]
    dataset: str
    run: str | None = None  # the folder under --runs
    protocol: str | None = None
    steps: int | None = None  # that the scored weights had, in the run's last stage
    seed: int | None = None


PAPER, ELSEWHERE, RUN = "the paper", "published elsewhere", "this code"


@dataclass(frozen=True)
class Block:
    """Rows that may be compared with each other, under what has to be said of them."""

    title: str
    drawn: bool  # the people are drawn by a program
    notes: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        number: in the paper.
        title: its search and dataset.
        columns: of each shot, from rank-1 (`r1`) to `mAP`.
        blocks: the first has the paper's rows.
    """

    number: int
    title: str
    columns: tuple[str, ...]
    blocks: list[Block]


class _Layout(NamedTuple):
    """What a table shows: `search` is the settings' first word, `published` its rows, single-shot then multi-shot."""

    search: str
    columns: tuple[str, ...]
    published: list[Row]
    notes: list[str]


def _row(source: str, method: str, columns: Sequence[str], figures: Sequence[float | None]) -> Row:
    """Figures as they are printed: single-shot, then multi-shot, None where nothing is printed."""
    known = [None if value is None else Figure(value) for value in figures]
    shots = known[: len(columns)], known[len(columns) :]
    single, multi = ({name: value for name, value in zip(columns, shot, strict=False) if value} for shot in shots)
    return Row(source, method, single, multi, "SYSU-MM01")


_TERMS = ("L_simple", "L_dis", "L_cross", "L_triplet")  # in the order of Table 6
_TOP = ("r1", "mAP")
_RANKS = ("r1", "r10", "r20", "mAP")
_RANK = {"r1": 1, "r10": 10, "r20": 20}

_LAYOUTS = {
    6: _Layout(
        "indoor",
        _TOP,
        [
            _row(PAPER, "L_simple + L_dis", _TOP, (1.33, 9.07)),
            _row(PAPER, "L_simple + L_dis + L_cross", _TOP, (8.44, 20.43)),
            _row(PAPER, "L_simple + L_dis + L_cross + L_triplet (random triplet)", _TOP, (14.25, 28.85)),
            _row(PAPER, "L_simple + L_dis + L_cross + L_triplet (hard triplet)", _TOP, (18.20, 34.56)),
        ],
        ["The paper does not say whether its Table 6 is single-shot or multi-shot; it stands under single-shot here."],
    ),
    7: _Layout(
        "all",
        _RANKS,
        [
            _row(PAPER, "BDTR", _RANKS, (17.01, 55.43, 71.96, 19.66)),
            _row(PAPER, "SDL", _RANKS, (28.12, 70.23, 83.67, 29.01)),
            _row(PAPER, "cmPIG", _RANKS, (38.1, 80.7, 89.9, 36.9, 45.1, 85.7, 93.8, 29.5)),
            _row(PAPER, "Hi-CMD", _RANKS, (34.94, 77.58, None, 35.94)),
            _row(PAPER, "Method1", _RANKS, (45.44, 88.85, 96.37, 46.84, 47.73, 90.30, 96.48, 40.12)),
            _row(PAPER, "Method2", _RANKS, (52.51, 92.01, 97.05, 49.51, 56.14, 93.56, 98.34, 43.81)),
            _row(ELSEWHERE, "AGW", _TOP, (47.50, 47.65)),
            _row(ELSEWHERE, "DDAG", _TOP, (54.75, 53.02)),
            _row(ELSEWHERE, "CAJ+", _TOP, (71.48, 68.15)),
            _row(ELSEWHERE, "DEEN", _TOP, (74.70, 71.80)),
            _row(ELSEWHERE, "MSCMNet", _TOP, (78.53, 74.20)),
        ],
        ["BDTR as published has AlexNet streams; this code's has ResNet streams."],
    ),
    8: _Layout(
        "indoor",
        _RANKS,
        [
            _row(PAPER, "SDL", _RANKS, (32.56, 80.45, 90.67, 39.56)),
            _row(PAPER, "cmPIG", _RANKS, (43.8, 86.2, 94.2, 52.9, 52.7, 91.1, 96.4, 42.7)),
            _row(PAPER, "Method1", _RANKS, (51.95, 95.24, 98.78, 63.11, 52.65, 94.10, 98.35, 51.22)),
            _row(PAPER, "Method2", _RANKS, (53.53, 93.25, 97.74, 63.12, 62.16, 95.61, 98.77, 55.46)),
        ],
        [],
    ),
}

# What tells the two presets of the image-space system apart, and both from ablations: choices, and terms with a weight.
_CHOICES = (
    "adversarial",
    "teacher_kl",
    "detach_appearance",
    "freeze_appearance",
    "alternate_structure",
    "networks.E_a.slices",
    "networks.D.num_scales",
)
_SHARED_TERMS = {"L_simple", "L_cross", "L_id_orig", "L_id_recon", "L_code_s", "L_adv_D", "L_adv_G", "L_dis"}
_PAPER_SYSTEM = ("bce", "p||q", False, False, False, "part", 1), _SHARED_TERMS | {"L_code_a"}
_DGNET_SYSTEM = ("lsgan", "q||p", True, True, True, "channel", 3), _SHARED_TERMS | {"L_id_fine", "L_R1", "L_cycle"}

_UNPUBLISHED = ("two-stream baseline", "BDTR", "dgnet preset")  # come after the published rows, then all others
_COMPARABLE = (
    "The paper's rows and those published elsewhere are quoted figures; rows of this code are measured, "
    "± the standard deviation over the trials."
)
_DRAWN = (
    "The people in this block are drawn by a program: its rows cannot be compared with the paper's. "
    "± is the standard deviation over the trials."
)


def table_with_runs(number: int, runs: str | None, json_out: str | None) -> str:
    """A table of the paper with the runs beside it: `eval.py --table`.

    Args:
        number: 6, 7 or 8.
        runs: see `compare`.
        json_out: where to write the same as JSON, figures in percent; None: nowhere.

    Returns:
        Markdown to print.

    Raises:
        OSError, ValueError: see `compare`.
    """
    table = compare(number, runs)
    if json_out is not None:
        Path(json_out).write_text(json.dumps(asdict(table), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return markdown(table)


def compare(number: int, runs: str | None) -> Table:
    """The paper's rows, each followed by the runs of it, and the runs on drawn people in a second block.

    Args:
        number: 6, 7 or 8.
        runs: folder with the folders of scored runs, one or two deep; None: the paper's rows alone. A run that
            cannot be read or is not scored on this table's search is left out with a line on stderr.

    Returns:
        The table; figures in percent, rounded to the two digits that the paper prints.

    Raises:
        FileNotFoundError: where `runs` is not there.
        ValueError: where no run under it has been scored.
    """
    layout = _LAYOUTS[number]
    found = [] if runs is None else _read_runs(Path(runs))
    ours = sorted((row for run in found for row in _run_rows(run, number)), key=lambda row: row.method)
    real = [row for row in ours if not row.dataset.endswith("(drawn)")]
    drawn = [row for row in ours if row.dataset.endswith("(drawn)")]

    notes = [_COMPARABLE, *layout.notes]
    if runs is not None and not real:
        notes.append(f"No run on the real dataset under {runs} belongs here.")
    title = f"SYSU-MM01, {layout.search} search"
    blocks = [Block("Real images", False, notes, _in_order([*layout.published, *real], layout))]
    if drawn:
        blocks.append(Block("Drawn people", True, [_DRAWN], _in_order(drawn, layout)))
    return Table(number, title, layout.columns, blocks)


def markdown(table: Table) -> str:
    """A heading a block, what is to be said of it, and its rows in percent."""
    shots = [f"{shot} {column}" for shot in SHOTS for column in table.columns]
    head = ["source", "method", "run", *shots, "protocol", "dataset", "steps", "seed"]
    parts = [f"# Table {table.number}: {table.title} (in %)"]
    for block in table.blocks:
        parts += [f"## {block.title}", *block.notes, _grid(head, [_cells(row, table.columns) for row in block.rows])]
    return "\n\n".join(parts)


def _cells(row: Row, columns: Sequence[str]) -> list[str]:
    figures = [shot.get(column) for shot in (row.single, row.multi) for column in columns]
    steps = None if row.steps is None else f"{row.steps:,}"
    texts = [row.source, row.method, row.run, *map(_percent, figures), row.protocol, row.dataset, steps, row.seed]
    return ["-" if text is None else str(text).replace("|", "\\|") for text in texts]


def _percent(figure: Figure | None) -> str | None:
    if figure is None or figure.std is None:
        return None if figure is None else f"{figure.mean:.2f}"
    return f"{figure.mean:.2f} ± {figure.std:.2f}"


def _grid(head: list[str], lines: list[list[str]]) -> str:
    """A Markdown table that also reads well as plain text."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    rows = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in (head, rule, *lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


class _Run(NamedTuple):
    """A scored run: its folder, the folder's name under --runs, and what its two files hold."""

    folder: Path
    name: str
    config: dict
    scores: dict


def _read_runs(root: Path) -> list[_Run]:
    """Every scored run one or two folders deep, by name."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; --runs names the one that the runs' folders are in.")
    names = ("config.json", "scores.json")
    folders = {path.parent for name in names for depth in ("*", "*/*") for path in root.glob(f"{depth}/{name}")}
    found = []
    for folder in sorted(folders):
        if not (folder / "scores.json").is_file():
            _leave_out(folder, f"it is not scored yet; eval.py --workdir {folder} does it")
            continue
        try:
            config, scores = (json.loads((folder / name).read_text()) for name in names)
            found.append(_Run(folder, folder.relative_to(root).as_posix(), config, scores))
        except (OSError, ValueError) as error:
            _leave_out(folder, f"its config.json or scores.json cannot be read ({error})")
    if not found:
        raise ValueError(
            f"{root} has no scored run, one or two folders deep; eval.py --workdir {root}/NAME scores one, and "
            f"without --runs the paper's rows are printed alone."
        )
    return found


def _run_rows(run: _Run, number: int) -> list[Row]:
    """A run's rows, its controls behind it; none where it has none in this table, with a line on stderr unless it
    belongs to another one.
    """
    layout = _LAYOUTS[number]
    settings = [f"{layout.search}_{shot}" for shot in SHOTS]
    try:
        last = run.config[run.config["recipe"][-1]]
        if not _belongs(last["stage"], number):
            return []
        if absent := [setting for setting in settings if setting not in run.scores["trained"]]:
            _leave_out(run.folder, f"it has no scores {' and '.join(absent)}, on {run.scores['dataset']}")
            return []
        method = _method(last) or run.folder.name
        systems = {method: "trained"} | {f"{method}; control: by {name}": name for name in run.scores["controls"]}
        return [
            Row(
                RUN,
                shown,
                *(_figures(run.scores[system][setting], layout.columns) for setting in settings),
                dataset=run.scores["dataset"],
                run=run.name,
                protocol=run.scores["protocol"],
                steps=run.scores["steps"],
                seed=run.config["seed"],
            )
            for shown, system in systems.items()
        ]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        _leave_out(run.folder, f"its config.json or scores.json is of another layout ({error!r})")
        return []


def _figures(scored: dict, columns: Sequence[str]) -> dict[str, Figure]:
    """The columns of a setting of scores.json, in percent."""
    several = len(scored["trials"]) > 1
    figures = {}
    for column in columns:
        mean = scored["mAP"] if column == "mAP" else scored["cmc"][_RANK[column] - 1]
        std = scored["std"].get("rank1" if column == "r1" else column) if several else None
        figures[column] = Figure(round(100 * mean, 2), None if std is None else round(100 * std, 2))
    return figures


def _belongs(kind: str, number: int) -> bool:
    """Whether runs that end with a stage of this kind are in a table.

    Table 6 has the embedding-space system and what it stands on; 7 and 8 have all but the former.
    """
    return kind in ("embedding", "two_stream") if number == 6 else kind != "embedding"


def _method(stage: dict) -> str | None:
    """The name of what a run's last stage is; None where neither the paper nor a preset has one."""
    match stage["stage"]:
        case "embedding":
            return _embedding_method(stage)
        case "two_stream":
            return "BDTR" if stage["weights"]["L_rank"] else "two-stream baseline"
        case "image":
            return _image_method(stage)
    return None


def _embedding_method(stage: dict) -> str | None:
    terms = _terms(stage)
    if not terms <= set(_TERMS):
        return None
    name = " + ".join(term for term in _TERMS if term in terms)
    triplets = f" ({stage['triplets']} triplet)" if "L_triplet" in terms else ""
    return name + triplets


def _image_method(stage: dict) -> str | None:
    system = tuple(functools.reduce(dict.__getitem__, path.split("."), stage) for path in _CHOICES), _terms(stage)
    transferred = stage.get("transfer_from", "")
    if system == _PAPER_SYSTEM:
        return "Method2" if transferred else "Method1"
    if system == _DGNET_SYSTEM:
        return "dgnet preset; transferred" if transferred else "dgnet preset"
    return None


def _terms(stage: dict) -> set[str]:
    return {term for term, weight in stage["weights"].items() if weight}


def _in_order(rows: Sequence[Row], layout: _Layout) -> list[Row]:
    """The rows in the order of the published ones, those of one method as they come, those of no such method last."""
    order = [*(row.method for row in layout.published), *_UNPUBLISHED]

    def place(row: Row) -> int:
        method = row.method.split("; ")[0]  # without what the run does otherwise
        return order.index(method) if method in order else len(order)

    return sorted(rows, key=place)


def _leave_out(folder: Path, why: str) -> None:
    print(f"{folder} is left out: {why}.", file=sys.stderr)
