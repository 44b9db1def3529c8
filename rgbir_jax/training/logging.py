"""What is written while training: metrics.jsonl and TensorBoard files, scalars and pictures."""

import json
import math
import os
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from rgbir_jax.data.augment import denormalise
from rgbir_jax.training import processes


class Log:
    """Appends to a stage's logs; of several processes the first alone does.

    Args:
        directory: of the stage; `metrics.jsonl` has one JSON object a line, `step` and the values by name.
    """

    def __init__(self, directory: Path):
        from tensorboardX import SummaryWriter  # imports PyTorch where that is installed, which takes seconds

        writes = processes.is_first()
        if writes:
            directory.mkdir(parents=True, exist_ok=True)
        self._lines = (directory / "metrics.jsonl" if writes else Path(os.devnull)).open("a")
        self._board = SummaryWriter(str(directory), write_to_disk=writes)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes named numbers; those that are not finite are left out, for JSON has no word for them."""
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


def tile(grid: Float[np.ndarray, "rows columns height width 3"]) -> UInt8[np.ndarray, "tall wide 3"]:
    """Lays a grid of normalised images side by side."""
    rows, columns, height, width, channels = grid.shape
    return np.asarray(denormalise(grid)).swapaxes(1, 2).reshape(rows * height, columns * width, channels)
