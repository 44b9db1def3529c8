"""The paper's Tables 6, 7 and 8, and tables of RegDB and LLCM, together with runs of this code.

Runs that were scored on other images than the paper's have blocks of their own, one per dataset.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rgbir_jax.evaluation.folds import over_folds
from rgbir_jax.evaluation.published import LAYOUTS, Figure, Layout, Row
from rgbir_jax.evaluation.runs import counted, read_runs, rows_of

# Come after the published rows of a table that has no row of theirs, then all others.
_UNPUBLISHED = ("two-stream baseline", "BDTR", "dgnet preset", "released preset", "AGW's baseline", "RLE's baseline")
_COMPARABLE = (
    "The paper's rows and those published elsewhere are quoted figures; rows of this code are measured, "
    "± the standard deviation over the {spread}."
)
_DRAWN = (
    "The people in this block are drawn by a program: its rows cannot be compared with published ones. "
    "± is the standard deviation over the {spread}."
)
_OTHER = (
    "These images are not {test_set}'s test set of {counts} ({search}): the rows cannot be compared with published "
    "ones. ± is the standard deviation over the {spread}."
)


@dataclass(frozen=True)
class Block:
    """Rows of one set of test images, which may be compared with each other, and notes about them."""

    title: str
    comparable: bool  # the test images are those of the published rows
    notes: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class Table:
    """A table of the paper, or one in its form.

    Attributes:
        name: what `eval.py --table` calls it.
        title: its number in the paper, if it has one, and what it is about.
        searches: the words above the columns of each search.
        columns: the columns of each search, from rank-1 (`r1`) on.
        blocks: the first has the published rows.
    """

    name: str
    title: str
    searches: tuple[str, ...]
    columns: tuple[str, ...]
    blocks: list[Block]


def table_with_runs(name: str, runs: str | None = None) -> tuple[str, dict]:
    """Prints a table with the runs: `eval.py --table`.

    Args:
        name: a key of `LAYOUTS`: "6", "7" or "8" for the paper's tables, or a dataset.
        runs: see `compare`.

    Returns:
        Markdown to print, and the same as values for a JSON file, figures in percent.

    Raises:
        UserError: see `compare`.
    """
    table = compare(name, runs)
    return markdown(table), asdict(table)


def compare(name: str, runs: str | None) -> Table:
    """Puts each run behind its published row, or into the block of its dataset.

    Args:
        name: a key of `LAYOUTS`.
        runs: folder with the folders of scored runs, one or two deep; None: only the published rows. A run that
            cannot be read or is not scored on this table's searches is left out with a line on stderr. Runs that
            differ only in their fold are averaged.

    Returns:
        The table; figures in percent, rounded to the two digits that the paper prints.

    Raises:
        UserError: if `runs` does not exist, or if no run under it has been scored.
    """
    layout = LAYOUTS[name]
    found = [] if runs is None else over_folds(read_runs(Path(runs)))
    ours = sorted((row for run in found for row in rows_of(run, name)), key=lambda row: row.method)
    real = [row for row in ours if row.dataset == layout.test_set]
    others = sorted({row.dataset for row in ours} - {layout.test_set})

    notes = [_COMPARABLE.format(spread=layout.spread), *layout.notes]
    if runs is not None and not real:
        notes.append(f"No run on the real dataset under {runs} belongs here.")
    blocks = [Block(layout.test_set, True, notes, _in_order([*layout.published, *real], layout))]
    for dataset in others:
        note = _DRAWN if dataset.endswith("(drawn)") else _OTHER
        text = note.format(
            spread=layout.spread, test_set=layout.test_set, counts=counted(*layout.counts[1:]), search=layout.counts[0]
        )
        blocks.append(Block(dataset, False, [text], _in_order([row for row in ours if row.dataset == dataset], layout)))
    return Table(name, layout.title, tuple(layout.searches), layout.columns, blocks)


def markdown(table: Table) -> str:
    """Formats a table as Markdown: a heading, notes and rows in percent for each block."""
    columns = [f"{search} {column}" for search in table.searches for column in table.columns]
    head = ["source", "method", "run", *columns, "protocol", "dataset", "steps", "seed"]
    parts = [f"# {table.title} (in %)"]
    for block in table.blocks:
        parts += [f"## {block.title}", *block.notes, _grid(head, [_cells(row, table) for row in block.rows])]
    return "\n\n".join(parts)


def _cells(row: Row, table: Table) -> list[str]:
    figures = [row.figures[search].get(column) for search in table.searches for column in table.columns]
    steps = None if row.steps is None else f"{row.steps:,}"
    texts = [row.source, row.method, row.run, *map(_percent, figures), row.protocol, row.dataset, steps, row.seed]
    return ["-" if text is None else str(text).replace("|", "\\|") for text in texts]


def _percent(figure: Figure | None) -> str | None:
    if figure is None or figure.std is None:
        return None if figure is None else f"{figure.mean:.2f}"
    return f"{figure.mean:.2f} ± {figure.std:.2f}"


def _grid(head: list[str], lines: list[list[str]]) -> str:
    """Formats a Markdown table that also reads well as plain text."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    rows = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in (head, rule, *lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _in_order(rows: Sequence[Row], layout: Layout) -> list[Row]:
    """Sorts rows in the order of the published ones; rows of other methods come last."""
    order = [*(row.method for row in layout.published), *_UNPUBLISHED]

    def place(row: Row) -> int:
        method = row.method.split("; ")[0]  # without what the run does otherwise
        return order.index(method) if method in order else len(order)

    return sorted(rows, key=place)
