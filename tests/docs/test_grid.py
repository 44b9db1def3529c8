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


@pytest.mark.parametrize("file", ["ablations", "ablations_48", "ablations_200"])
def test_tables_of_results(file):
    """The table that is printed is that of the kept runs, and in results.md."""
    kept = json.loads((ROOT / "benchmarks" / "results" / f"{file}.json").read_text())
    cells = [name for name in ablations.CELLS if name in kept["rows"]]
    table = ablations.markdown(kept["rows"], len(SEEDS))
    assert table == ablations.markdown(ablations.tabulate(kept["runs"], SEEDS, cells), len(SEEDS))
    assert table in (ROOT / "docs" / "results.md").read_text()
