"""The notebook of the quickstart runs at its smallest size, and holds only small outputs."""

import json

import pytest

from tests.docs import pages
from tests.docs.notebook import execute

SMALLEST = 'people = "--train 4 --val 2 --test 3 --images 2 --size 32 16"\nsteps = 2'
LARGEST = 200_000  # bytes of the whole file


def test_it_is_small_and_names_no_machine():
    text = pages.NOTEBOOK.read_text()
    assert len(text) < LARGEST
    assert "/home/" not in text
    assert "/tmp/" not in text
    assert json.loads(text)["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.slow
def test_it_runs(tmp_path):
    notebook = execute(tmp_path, SMALLEST)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert '"step": 2' in text
    assert "trained" in text
    assert "Run('drawn'" in "".join(str(output.get("data")) for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert (tmp_path / "runs" / "nb" / "report.html").exists()
    assert "The nearest image shows the right person" in text
