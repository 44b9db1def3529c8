"""How every figure looks: colours that differ without colour vision too, and sizes that print well."""

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
    """(figure, axes row by row) of a size in inches."""
    with rc_context(_RC):
        made = Figure((width, height), layout="constrained")
        axes = made.subplots(rows, columns, squeeze=False, **options)
    return made, list(axes.ravel())


def picture(axes, image) -> None:
    """Shows an image, uint8 [height, width, 3], without an axis."""
    axes.imshow(image, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)


def save(made: Figure, path: Path) -> None:
    """Writes a PNG fit for print."""
    with rc_context(_RC):
        made.savefig(path, dpi=200, facecolor="white")
