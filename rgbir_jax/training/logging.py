"""The log of a training: metrics.jsonl and TensorBoard files, scalars and pictures."""

import json
import math
import os
import socket
import struct
import time
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image, ImageDraw

from rgbir_jax.files import writing
from rgbir_jax.training import processes

GAP = 2  # white pixels between pictures
LABEL = 12  # height of the label above a grid, in pixels


class Log:
    """Appends to a stage's logs; of several processes only the first does.

    What is written is handed to the system before the call returns, so that a full disk is noticed.

    Args:
        directory: the stage's folder; `metrics.jsonl` has one JSON object per line, `step` and the values by name.
        config: the stage's section of the config, which TensorBoard shows as text.

    Raises:
        UserError: if the files cannot be written. Every method raises it.
    """

    def __init__(self, directory: Path, config: ConfigDict):
        self._writes = processes.is_first()
        if not self._writes:
            return
        from tensorboardX import summary  # imports PyTorch if that is installed, which takes seconds

        self._summary = summary
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        self._lines = _AppendedFile(directory / "metrics.jsonl")
        self._lines.end_cut_line()
        self._board = _AppendedFile(directory / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}")
        self._show(0, file_version="brain.Event:2")
        self._show(0, summary=summary.text("config", f"```\n{config.to_json(indent=1)}\n```"))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes named numbers; those that are not finite are left out, because JSON cannot express them."""
        if not self._writes:
            return
        values = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        self._lines.write(json.dumps({"step": step} | values).encode() + b"\n")
        shown = self._summary.Summary()
        for name, value in values.items():
            shown.MergeFrom(self._summary.scalar(name, value))
        self._show(step, summary=shown)

    def picture(self, step: int, name: str, image: UInt8[np.ndarray, "height width 3"]) -> None:
        """Writes one picture to TensorBoard."""
        if self._writes:
            self._show(step, summary=self._summary.image(name, image, dataformats="HWC"))

    def close(self) -> None:
        """Closes the files."""
        if self._writes:
            self._lines.close()
            self._board.close()

    def _show(self, step: int, **content) -> None:
        """Writes one event for TensorBoard.

        tensorboardX's own writer has a thread, which ends silently if the disk is full; training would then wait for it
        without end.
        """
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue] (generated)
        from tensorboardX.record_writer import masked_crc32c

        event = Event(wall_time=time.time(), step=step, **content).SerializeToString()
        length = struct.pack("<Q", len(event))
        checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, event))
        self._board.write(length + next(checksums) + event + next(checksums))


class _AppendedFile:
    """A file that grows. A write that fails raises a UserError."""

    def __init__(self, path: Path):
        self._path = path
        with writing(path):
            self._file = path.open("a+b", buffering=0)

    def write(self, content: bytes) -> None:
        """Appends to the file."""
        with writing(self._path):
            while content:  # a disk with little room takes a part
                content = content[self._file.write(content) :]

    def end_cut_line(self) -> None:
        """Ends a line that was cut when an earlier run was killed or its disk was full, so that only it is lost."""
        with writing(self._path):
            if self._file.seek(0, os.SEEK_END):
                self._file.seek(-1, os.SEEK_END)
                if self._file.read(1) != b"\n":
                    self.write(b"\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


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
