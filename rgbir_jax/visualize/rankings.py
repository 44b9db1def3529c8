"""Figure 4: the gallery images nearest to a probe, with right and wrong ones framed."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib.figure import Figure

from rgbir_jax.visualize import style


def ranked_lists(
    probes: UInt8[np.ndarray, "p h w 3"],
    ranked: UInt8[np.ndarray, "p count h w 3"],
    right: Bool[np.ndarray, "p count"],
    probe_labels: Sequence[str],
    labels: Sequence[Sequence[str]],
    titles: Sequence[str],
) -> Figure:
    """Draws one row per probe: the probe, then its list.

    Args:
        probes: images.
        ranked: their gallery images, nearest first.
        right: whether it is the same person; a solid green frame and a tick, otherwise a dashed red one and a cross.
        probe_labels: the text under each probe.
        labels: the text under each gallery image.
        titles: the text above each column of gallery images.
    """
    rows, columns = right.shape
    height, width = probes.shape[1:3]
    inches = 0.72
    figure, axes = style.figure(
        inches * (columns + 1.4), (inches * height / width + 0.36) * rows + 0.2, rows, columns + 1,
        gridspec_kw={"width_ratios": [1.2] + [1] * columns},
    )  # fmt: skip
    for row in range(rows):
        probe, *cells = axes[row * (columns + 1) : (row + 1) * (columns + 1)]
        style.picture(probe, probes[row])
        _frame(probe, style.PLAIN, "dotted")
        probe.set_xlabel(probe_labels[row], fontsize=7, labelpad=2)
        for column, cell in enumerate(cells):
            style.picture(cell, ranked[row, column])
            ok = right[row, column]
            colour = style.RIGHT if ok else style.WRONG
            _frame(cell, colour, "solid" if ok else "dashed")
            cell.set_xlabel(f"{'✓' if ok else '✗'} {labels[row][column]}", fontsize=7, color=colour, labelpad=2)
            if row == 0:
                cell.set_title(titles[column], fontsize=8)
    axes[0].set_title("probe", fontsize=8)
    return figure


def _frame(axes, colour: str, line: str) -> None:
    axes.spines[:].set(visible=True, color=colour, linestyle=line, linewidth=2)
