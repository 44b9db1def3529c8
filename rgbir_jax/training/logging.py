"""The log of a training: metrics.jsonl and TensorBoard files, scalars and pictures."""

import json
import math
import os
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image, ImageDraw

from rgbir_jax.training import processes

GAP = 2  # white pixels between pictures
LABEL = 12  # height of the label above a grid, in pixels


class Log:
    """Appends to a stage's logs; of several processes only the first does.

    Args:
        directory: the stage's folder; `metrics.jsonl` has one JSON object per line, `step` and the values by name.
        config: the stage's section of the config, which TensorBoard shows as text.
    """

    def __init__(self, directory: Path, config: ConfigDict):
        from tensorboardX import SummaryWriter  # imports PyTorch if that is installed, which takes seconds

        writes = processes.is_first()
        if writes:
            directory.mkdir(parents=True, exist_ok=True)
        self._lines = (directory / "metrics.jsonl" if writes else Path(os.devnull)).open("a")
        self._board = SummaryWriter(str(directory), write_to_disk=writes)
        self._board.add_text("config", f"```\n{config.to_json(indent=1)}\n```")

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes named numbers; those that are not finite are left out, because JSON cannot express them."""
        values = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        self._lines.write(json.dumps({"step": step} | values) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: UInt8[np.ndarray, "height width 3"]) -> None:
        """Writes one picture to TensorBoard."""
        self._board.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flushes and closes the files."""
        self._lines.close()
        self._board.close()


def picture_grid(
    grid: UInt8[np.ndarray, "rows columns height width 3"], sources: UInt8[np.ndarray, "n height width 3"], label: str
) -> UInt8[np.ndarray, "tall wide 3"]:
    """Joins a grid of generated images with their sources.

    Args:
        grid: if it has as many columns as there are sources, columns share a source, which is drawn above them.
            Otherwise a row leads from its source to the next one, which is drawn on the right.
        sources: the source of each row, drawn on the left.
        label: the text above all.
    """
    rows, columns, height, width, _ = grid.shape
    cells = [[sources[row % len(sources)], *grid[row]] for row in range(rows)]
    if columns == len(sources):
        cells.insert(0, [np.full_like(sources[0], 255), *sources])
    else:
        cells = [[*cells[row], sources[(row + 1) % len(sources)]] for row in range(rows)]
    across, down = width + GAP, height + GAP
    page = Image.new("RGB", (across * len(cells[0]), LABEL + down * len(cells)), "white")
    ImageDraw.Draw(page).text((1, 0), label, fill="black")
    for row, line in enumerate(cells):
        for column, cell in enumerate(line):
            page.paste(Image.fromarray(np.asarray(cell)), (across * column, LABEL + down * row))
    return np.asarray(page)
