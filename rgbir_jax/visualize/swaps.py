"""Figure 3: what the generator makes of one image's structure and another's appearance."""

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from rgbir_jax.visualize import style

_INCHES = 0.7


def swapped_grid(sources: UInt8[np.ndarray, "n h w 3"], swapped: UInt8[np.ndarray, "n n h w 3"]) -> Figure:
    """Rows share a structure, columns an appearance; the images that lend them stand at the head of each.

    Args:
        sources: the images.
        swapped: [structure, appearance].
    """
    n, height, width = sources.shape[:3]
    made, axes = style.figure(_INCHES * (n + 1.3), _INCHES * height / width * (n + 1.2), n + 1, n + 1)
    for row in range(n + 1):
        for column in range(n + 1):
            cell = axes[row * (n + 1) + column]
            if row == column == 0:
                style.picture(cell, np.full_like(sources[0], 255))
                cell.text(
                    0.5,
                    0.5,
                    "structure ↓\nappearance →",
                    ha="center",
                    va="center",
                    transform=cell.transAxes,
                    fontsize=6,
                )
                continue
            head = row == 0 or column == 0
            style.picture(cell, sources[max(row, column) - 1] if head else swapped[row - 1, column - 1])
            if head:
                cell.spines[:].set(visible=True, color=style.PLAIN, linewidth=1.5)
    return made


def strips(images: UInt8[np.ndarray, "rows steps h w 3"], start: str, end: str) -> Figure:
    """Interpolations, one a row.

    Args:
        images: from the first code to the last.
        start: what stands over the first column.
        end: what stands over the last one.
    """
    rows, steps, height, width = images.shape[:4]
    made, axes = style.figure(_INCHES * (steps + 0.2), _INCHES * height / width * rows + 0.3, rows, steps)
    for cell, image in zip(axes, images.reshape(-1, *images.shape[2:]), strict=True):
        style.picture(cell, image)
    axes[0].set_title(start, fontsize=8)
    axes[steps - 1].set_title(end, fontsize=8)
    return made
