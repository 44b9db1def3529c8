"""The tables of README and results.md on the grid have its committed figures, and these are of its runs."""

import json

import pytest

from benchmarks import ablations
from benchmarks.seeds import plus_minus
from tests.docs.pages import ROOT

GRID = json.loads((ROOT / "benchmarks" / "results" / "ablations.json").read_text())
SEEDS = (0, 1, 2)
README = {
    "teacher, 2,400 iterations": "teacher",
    "control, 3,100 more": "control",
    "image system, preset `paper`, as many from the teacher": "paper",
    "image system, preset `best`": "best",
    "preset `best` without its ranking loss": "best, without L_triplet",
    "preset `best`, no generated images: L_id and ranking loss only": "best, L_id_orig and L_triplet only",
}


@pytest.mark.parametrize("system", README)
def test_figures_in_the_readme(system):
    row = GRID["rows"][README[system]]
    cells = f"| {system} | {plus_minus(row['rank-1'])} | {plus_minus(row['mAP'])} |"
    assert cells in (ROOT / "README.md").read_text()


def test_the_table_of_results():
    assert ablations.markdown(GRID["rows"], len(SEEDS)) in (ROOT / "docs" / "results.md").read_text()


def test_the_rows_are_of_the_runs():
    cells = [name for name in ablations.CELLS if name in GRID["rows"]]
    rows = ablations.tabulate(GRID["runs"], SEEDS, cells)
    assert ablations.markdown(rows, len(SEEDS)) == ablations.markdown(GRID["rows"], len(SEEDS))
