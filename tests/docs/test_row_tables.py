"""The tables of results.md that benchmarks/rows.py prints have its committed figures."""

import json

import pytest

from benchmarks import rows
from tests.docs.pages import ROOT


@pytest.mark.parametrize("group", ["table6", "methods"])
def test_tables_of_results(group):
    figures = json.loads((ROOT / "benchmarks" / "results" / f"{group}.json").read_text())
    assert set(figures["rows"]) == {title for row in rows.GROUPS[group].rows.values() for _, title in row.shows}
    assert rows.markdown(figures) in (ROOT / "docs" / "results.md").read_text()
