"""Figure 3: images generated from one image's structure and another's appearance."""

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from rgbir_jax.visualize import style

_INCHES = 0.7


def swapped_grid(
    sources: UInt8[np.ndarray, "n h w 3"],
    swapped: UInt8[np.ndarray, "n n h w 3"],
    label: str = "structure ↓\nappearance →",
) -> Figure:
    """Draws images whose rows share a structure and whose columns share an appearance.

    The source images, framed, are in the first column and row. The diagonal, framed with dots, is reconstruction:
    there the target is the source image itself.

    Args:
        sources: the images.
        swapped: [structure, appearance].
        label: what rows and columns share, in words.
    """
    n, height, width = sources.shape[:3]
    figure, axes = style.figure(_INCHES * (n + 1.3), _INCHES * height / width * (n + 1.2), n + 1, n + 1)
    corner, *axes = axes
    style.picture(corner, np.full_like(sources[0], 255))
    corner.text(0.5, 0.5, label, ha="center", va="center", transform=corner.transAxes, fontsize=6)
    for cell, image in zip(axes, sources, strict=False):
        _source(cell, image)
    for row, (source, pictures) in enumerate(zip(sources, swapped, strict=True), start=1):
        left, *cells = axes[row * (n + 1) - 1 : (row + 1) * (n + 1) - 1]
        _source(left, source)
        for cell, picture in zip(cells, pictures, strict=True):
            style.picture(cell, picture)
        cells[row - 1].spines[:].set(visible=True, color=style.PLAIN, linewidth=1, linestyle="dotted")
    return figure


def strips(sources: UInt8[np.ndarray, "n h w 3"], images: UInt8[np.ndarray, "n steps h w 3"], varied: str) -> Figure:
    """Draws interpolations, one per row, between the source images that are framed on the left and right.

    Args:
        sources: row i starts from sources[i] and ends at the next one, the last row at the first.
        images: from the first code to the last.
        varied: what the right source gives to the last picture, "appearance" or "structure".
    """
    n, steps, height, width = images.shape[:4]
    columns = steps + 2
    figure, axes = style.figure(_INCHES * (columns + 0.2), _INCHES * height / width * n + 0.3, n, columns)
    for row in range(n):
        left, *cells, right = axes[row * columns : (row + 1) * columns]
        _source(left, sources[row])
        _source(right, sources[(row + 1) % n])
        for cell, image in zip(cells, images[row], strict=True):
            style.picture(cell, image)
    axes[0].set_title("source", fontsize=8)
    axes[columns - 1].set_title(f"source of\n{varied}", fontsize=8)
    return figure


def _source(cell, image: UInt8[np.ndarray, "h w 3"]) -> None:
    style.picture(cell, image)
    cell.spines[:].set(visible=True, color=style.PLAIN, linewidth=1.5)
