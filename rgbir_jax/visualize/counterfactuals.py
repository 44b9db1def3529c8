"""Swapped images beside the drawings that they should be."""

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from rgbir_jax.visualize import style

_INCHES = 0.75


def beside_truth(columns: dict[str, UInt8[np.ndarray, "n h w 3"]]) -> Figure:
    """Draws one row per pair of images.

    Args:
        columns: images by what they are, such as the structure, the appearance, the swapped image and the truth.
    """
    n, height, width = next(iter(columns.values())).shape[:3]
    figure, axes = style.figure(_INCHES * len(columns), _INCHES * height / width * n + 0.3, n, len(columns))
    for place, images in enumerate(columns.values()):
        for cell, image in zip(axes[place :: len(columns)], images, strict=True):
            style.picture(cell, image)
    for cell, name in zip(axes, columns, strict=False):
        cell.set_title(name, fontsize=7)
    return figure
