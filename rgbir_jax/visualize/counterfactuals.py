"""Swapped images beside the drawings that they should be."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from rgbir_jax.visualize import style

_INCHES = 0.75


def beside_truth(rows: Mapping[str, UInt8[np.ndarray, "n h w 3"]]) -> Figure:
    """Draws one column per pair of images.

    Args:
        rows: images by what they are, such as the structure, the appearance, the swapped image and the truth.
    """
    n, height, width = next(iter(rows.values())).shape[:3]
    figure, axes = style.figure(_INCHES * (n + 1), _INCHES * height / width * len(rows), len(rows), n)
    for row, (name, images) in enumerate(rows.items()):
        cells = axes[row * n : (row + 1) * n]
        for cell, image in zip(cells, images, strict=True):
            style.picture(cell, image)
        cells[0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
    return figure
