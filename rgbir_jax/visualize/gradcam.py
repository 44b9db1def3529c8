"""Activation maps laid over their images, and the figure of pairs beside their maps."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from rgbir_jax.inference.gradcam import PairMaps
from rgbir_jax.visualize import style

COLOURS = colormaps["inferno"]  # its lightness rises steadily: it can be read without colour vision and in print
OPACITY = 0.6
_INCHES, _BLOCKS = 0.82, 2


def overlay(images: UInt8[np.ndarray, "*batch 3"], maps: Float[np.ndarray, "*batch"]) -> UInt8[np.ndarray, "*batch 3"]:
    """Lays maps over grey copies of images: dark at 0, then red, and bright yellow at 1.

    Args:
        images: RGB.
        maps: values in 0..1.
    """
    grey = (images @ np.array([0.299, 0.587, 0.114]))[..., None]
    return np.round((1 - OPACITY) * grey + OPACITY * 255 * COLOURS(maps)[..., :3]).astype(np.uint8)


def pairs_with_maps(
    images: tuple[UInt8[np.ndarray, "n h w 3"], UInt8[np.ndarray, "n h w 3"]],
    maps: PairMaps,
    right: Bool[np.ndarray, "n"],
    query_labels: Sequence[str],
    labels: Sequence[str],
) -> Figure:
    """Draws pairs in two columns, filled one after the other: the query, its map, the gallery image and its map.

    Args:
        images: the queries, and the gallery image that each is compared with.
        maps: the maps of both.
        right: whether both show the same person; a tick, otherwise a cross.
        query_labels: the text under each query.
        labels: the text under each gallery image.
    """
    n, height, width = images[0].shape[:3]
    pictures = np.stack([shown for side in zip(images, maps, strict=True) for shown in (side[0], overlay(*side))], 1)
    rows = -(-n // _BLOCKS)
    blocks = -(-n // rows)
    ratios = [*([1] * 4 + [0.35]) * blocks][:-1]
    figure, axes = style.figure(
        _INCHES * sum(ratios) + 0.3, (_INCHES * height / width + 0.36) * rows + 0.6, rows, len(ratios),
        gridspec_kw={"width_ratios": ratios},
    )  # fmt: skip
    cells = np.array(axes).reshape(rows, -1)
    for cell in cells.ravel():
        cell.set_visible(False)
    for pair in range(n):
        block, row = divmod(pair, rows)
        place = cells[row, 5 * block : 5 * block + 4]
        for cell, image, title in zip(place, pictures[pair], ("probe", "its map", "nearest", "its map"), strict=True):
            style.picture(cell, image)
            cell.set_visible(True)
            if row == 0:
                cell.set_title(title, fontsize=8)
        tick, colour, line = ("✓", style.RIGHT, "solid") if right[pair] else ("✗", style.WRONG, "dashed")
        place[0].set_xlabel(query_labels[pair], fontsize=7, labelpad=2)
        place[0].spines[:].set(visible=True, color=style.PLAIN, linestyle="dotted", linewidth=2)
        place[2].set_xlabel(f"{tick} {labels[pair]}", fontsize=7, color=colour, labelpad=2)
        place[2].spines[:].set(visible=True, color=colour, linestyle=line, linewidth=2)
    ramp = overlay(np.full((256, 3), 150, np.uint8), np.linspace(0, 1, 256)) / 255
    bar = figure.colorbar(
        ScalarMappable(cmap=ListedColormap(ramp)), ax=axes, location="bottom", shrink=0.4, aspect=30, pad=0.02
    )
    bar.set_ticks([0, 1], labels=["adds nothing", "adds most in this image"])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=0)
    return figure
