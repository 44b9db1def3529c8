"""The README's table of systems has the published figures, and those of the committed run on drawn people."""

import json
import re

import pytest

from benchmarks.rows import GROUPS
from benchmarks.seeds import plus_minus
from rgbir_jax.evaluation.published import LAYOUTS
from tests.docs.pages import ROOT

RESULTS = json.loads((ROOT / "benchmarks" / "results" / "comparators.json").read_text())["rows"]
CONTROL = "its teacher, trained further (control)"
SMALL = {"sysu_image": "paper", "sysu_image:best": "best", "sysu_zero_padding:one_stream": "one_stream"}


def systems() -> dict[str, list[str]]:
    """Returns the cells of the table's rows by system."""
    _, _, text = (ROOT / "README.md").read_text().partition("### Systems")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.partition("###")[0].splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) == 5 and row[1].startswith("`")}


def title(system: str, recipe: str) -> str:
    """Returns the title of a system's row in the committed figures."""
    if system == CONTROL:
        return "control: the teacher, trained further"
    name, _, preset = recipe.partition(":")
    small = SMALL.get(recipe) or preset or name.removeprefix("sysu_").replace("two_stream", "bdtr")
    return GROUPS["comparators"].rows[small].shows[-1][1]


def test_every_system_is_in_the_table():
    titles = {title(system, cells[0].strip("`")) for system, cells in systems().items()}
    assert titles == RESULTS.keys() - {"chance", "teacher"}


@pytest.mark.parametrize("system", systems())
def test_published_figures(system):
    published = {row.method: row.figures["single"] for row in LAYOUTS["7"].published}
    _, rank1, mAP, _ = systems()[system]
    figures = published.get(re.sub("[:,].*", "", system), {})
    assert [float(cell) if cell else None for cell in (rank1, mAP)] == [
        figures[column].mean if column in figures else None for column in ("r1", "mAP")
    ]


@pytest.mark.parametrize("system", systems())
def test_figures_on_drawn_people(system):
    recipe, _, _, small = systems()[system]
    assert small == plus_minus(RESULTS[title(system, recipe.strip("`"))]["mAP"])
