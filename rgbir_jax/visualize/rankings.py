"""Figure 4: the gallery images nearest to a probe, right and wrong ones framed."""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.figure import Figure

from rgbir_jax.visualize import style


def nearest(
    probe: Float[np.ndarray, "p d"], gallery: Float[np.ndarray, "g d"], hidden: Bool[np.ndarray, "p g"], count: int
) -> Int[np.ndarray, "p count"]:
    """Columns of the `count` nearest gallery features by Euclidean distance, nearest first.

    Args:
        probe: features.
        gallery: features, at least `count` of them not hidden from each probe.
        hidden: gallery images that a probe does not see.
        count: how many.
    """
    distance = -2 * probe @ gallery.T + np.sum(gallery**2, axis=1)
    return np.argsort(np.where(hidden, np.inf, distance), axis=1, kind="stable")[:, :count]


def ranked_lists(
    probes: UInt8[np.ndarray, "p h w 3"],
    ranked: UInt8[np.ndarray, "p count h w 3"],
    right: Bool[np.ndarray, "p count"],
) -> Figure:
    """One row a probe: the probe, then its list.

    Args:
        probes: images.
        ranked: their gallery images, nearest first.
        right: whether it is the same person; a solid green frame and a tick, otherwise a dashed red one and a cross.
    """
    rows, columns = right.shape
    height, width = probes.shape[1:3]
    inches = 0.62
    made, axes = style.figure(
        inches * (columns + 1.2), (inches * height / width + 0.16) * rows + 0.2, rows, columns + 1,
        gridspec_kw={"width_ratios": [1.1] + [1] * columns},
    )  # fmt: skip
    for row in range(rows):
        own = axes[row * (columns + 1) : (row + 1) * (columns + 1)]
        style.picture(own[0], probes[row])
        _frame(own[0], style.PLAIN, "dotted")
        for column in range(columns):
            style.picture(own[column + 1], ranked[row, column])
            ok = right[row, column]
            _frame(own[column + 1], style.RIGHT if ok else style.WRONG, "solid" if ok else "dashed")
            own[column + 1].set_xlabel("✓" if ok else "✗", color=style.RIGHT if ok else style.WRONG, labelpad=1)
            if row == 0:
                own[column + 1].set_title(str(column + 1), fontsize=8)
    axes[0].set_title("probe", fontsize=8)
    return made


def _frame(axes, colour: str, line: str) -> None:
    axes.spines[:].set(visible=True, color=colour, linestyle=line, linewidth=2)
