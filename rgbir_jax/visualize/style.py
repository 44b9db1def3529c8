"""The look of every figure: colours that differ even without colour vision, and sizes that print well."""

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

RIGHT, WRONG, PLAIN = "#1a7f37", "#b3261e", "#555555"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c564b", "#444444", "#999933")
_RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}


def figure(width: float, height: float, rows: int = 1, columns: int = 1, **options) -> tuple[Figure, list]:
    """Makes a figure of a size in inches; returns it and its axes, row by row."""
    with rc_context(_RC):
        drawing = Figure((width, height), layout="constrained")
        axes = drawing.subplots(rows, columns, squeeze=False, **options)
    return drawing, list(axes.ravel())


def picture(axes, image) -> None:
    """Shows an image, uint8 [height, width, 3], without an axis."""
    axes.imshow(image, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)


def save(drawing: Figure, path: Path) -> None:
    """Writes a PNG that is sharp enough to print."""
    with rc_context(_RC):
        drawing.savefig(path, dpi=200, facecolor="white")
