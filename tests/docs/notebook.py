"""Runs the notebook of the quickstart; as a program it also keeps what the notebook shows."""

import os
import shutil
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.docs.pages import NOTEBOOK, ROOT
from tests.docs.programs import SCRIPTS


def execute(folder: Path, first_cell: str = "") -> nbformat.NotebookNode:
    """Runs the notebook in a folder.

    Args:
        folder: where it writes data and runs.
        first_cell: what stands for its first cell of code, which chooses the sizes; empty: the cell as it is.

    Returns:
        The notebook with its outputs.

    Raises:
        CellExecutionError: if a cell raises an error.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    if first_cell:
        next(cell for cell in notebook.cells if cell.cell_type == "code").source = first_cell
    programs = folder / "programs"
    _write_programs(programs)
    environment = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    client = NotebookClient(notebook, timeout=1_800, resources={"metadata": {"path": str(folder)}})
    client.create_kernel_manager()
    client.execute(env=os.environ | environment)
    return notebook


def _write_programs(folder: Path) -> None:
    """Writes the console scripts of this checkout, whatever is installed."""
    folder.mkdir(parents=True)
    for name, entry in SCRIPTS.items():
        module, _, function = entry.partition(":")
        script = folder / name
        text = f'#!{sys.executable}\nfrom {module} import {function}\nif __name__ == "__main__":\n    {function}()\n'
        script.write_text(text)
        script.chmod(0o755)


def main() -> None:
    """Writes the notebook with what it shows."""
    folder = ROOT / "build" / "notebook"
    shutil.rmtree(folder, ignore_errors=True)
    notebook = execute(folder)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
        for output in cell.get("outputs", []):
            if "image/jpeg" in output.get("data", {}):
                output.data.pop("image/png", None)  # the same picture, ten times as large
    notebook.metadata = nbformat.read(NOTEBOOK, as_version=4).metadata
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
