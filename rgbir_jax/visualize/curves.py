"""CMC curves of several systems, and curves of a stage's training from its metrics.jsonl."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rgbir_jax.visualize import style

FEW = 5  # lines that cannot be read and are named
_LINES = ("-", "--", "-.", ":")
_OUTSIDE: dict[str, Any] = {"frameon": False, "loc": "upper left", "bbox_to_anchor": (1, 1), "borderaxespad": 0}


def cmc_curves(curves: Mapping[str, Sequence[float]], ranks: int = 20) -> Figure:
    """Draws the share of probes whose person is among the first k, by k.

    Args:
        curves: shares from rank 1, 0..1, by the system's name.
        ranks: the number of ranks to show.
    """
    drawing, (axes,) = style.figure(6.0, 3.4)
    for i, (name, shares) in enumerate(curves.items()):
        shown = np.asarray(shares[:ranks]) * 100
        axes.plot(np.arange(1, len(shown) + 1), shown, **_line(i, name))
    axes.set_xticks([1, *range(5, ranks + 1, 5)])
    axes.set(xlabel="rank k", ylabel="probes matched within k (%)", ylim=(0, 100), xlim=(1, ranks))
    axes.legend(**_OUTSIDE)
    return drawing


def _line(i: int, name: str) -> dict[str, Any]:
    """Returns the look of the i-th system's line; that of the run itself is thick."""
    width = 2.4 if name == "trained" else 1.2
    return {"linestyle": _LINES[i % 4], "color": style.COLOURS[i % 10], "linewidth": width, "label": name}


def roc_curves(curves: Mapping[str, tuple[Sequence[float], Sequence[float | None]]]) -> Figure:
    """Draws TPR by FPR on a logarithmic axis.

    Args:
        curves: (FPR, TPR) in 0..1 by the system's name; a TPR is None where there are too few pairs.
    """
    drawing, (axes,) = style.figure(6.0, 3.4)
    for i, (name, (fpr, tpr)) in enumerate(curves.items()):
        points = np.array([(x, 100 * y) for x, y in zip(fpr, tpr, strict=True) if y is not None]).reshape(-1, 2)
        axes.plot(*points.T, **_line(i, name))
    axes.set(xscale="log", ylim=(0, 100), xlim=(min(fpr for fprs, _ in curves.values() for fpr in fprs), 1))
    axes.set(xlabel="pairs of two persons accepted, FPR", ylabel="pairs of one person accepted, TPR (%)")
    axes.legend(**_OUTSIDE)
    return drawing


def rank_histograms(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draws at which ranks the probes' persons are found, as groups of bars.

    Args:
        shares: by the system's name the share of probes, 0..1, by the range of ranks.
    """
    drawing, (axes,) = style.figure(5.2, 3.0)
    width = 0.8 / len(shares)
    for i, (name, by_range) in enumerate(shares.items()):
        places = np.arange(len(by_range)) + (i - (len(shares) - 1) / 2) * width
        bars = axes.bar(places, [100 * share for share in by_range.values()], width, color=style.COLOURS[i], label=name)
        axes.bar_label(bars, fmt="%.0f", fontsize=7, padding=1)
    ranges = list(next(iter(shares.values())))
    axes.set_xticks(range(len(ranges)), ranges)
    axes.set(xlabel="rank of the probe's person", ylabel="probes (%)")
    axes.grid(False, axis="x")
    axes.legend(frameon=False)
    return drawing


def read_log(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads (steps, values) by name from a metrics.jsonl; of two lines of one step the later one counts.

    It skips lines that it cannot read, such as one cut by a power failure, and prints their numbers on stderr.
    """
    series: dict[str, dict[int, float]] = {}
    skipped = []
    lines = path.read_text(errors="replace").split("\n") if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            values = json.loads(line)
            step = int(values.pop("step"))
            for name, value in values.items():
                series.setdefault(name, {})[step] = float(value)
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError, RecursionError):
            skipped.append(str(number))
    if skipped:
        some = ", ".join(skipped[:FEW] + ["..."] * (len(skipped) > FEW))
        lines = f"line {some}" if len(skipped) == 1 else f"lines {some}"
        print(f"{path}: {lines} cannot be read and {'is' if len(skipped) == 1 else 'are'} skipped.", file=sys.stderr)
    return {
        name: (np.array(sorted(points)), np.array([points[s] for s in sorted(points)]))
        for name, points in series.items()
    }


def training_curves(log: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure | None:
    """Draws losses, validation scores, and the schedules of weights and learning rates, one panel per kind.

    Args:
        log: what `read_log` gives.

    Returns:
        The figure; None for a log without any of these.
    """
    panels = {
        "loss": {name: log[name] for name in log if name.startswith("L_")},
        "accuracy and validation": {name: log[name] for name in log if name.startswith(("val/", "accuracy"))},
        "weight": {name.removeprefix("weight/"): log[name] for name in log if name.startswith("weight/")},
        "learning rate": {
            name.removeprefix("learning_rate/"): log[name] for name in log if name.startswith("learning_rate/")
        },
    }
    panels = {title: lines for title, lines in panels.items() if lines}
    if not panels:
        return None
    drawing, axes = style.figure(9.6, 3.0 * -(-len(panels) // 2), -(-len(panels) // 2), min(2, len(panels)))
    for cell, (title, lines) in zip(axes, panels.items(), strict=False):
        for i, (name, (steps, values)) in enumerate(lines.items()):
            (line,) = cell.plot(steps, values, _LINES[i // 10 % 4], color=style.COLOURS[i % 10], label=name)
            line.set(linewidth=1.1, marker="o" if len(steps) == 1 else "", markersize=4)  # one point makes no line
        cell.set(title=title, xlabel="iteration")
        if title in ("loss", "learning rate") and any(np.any(values > 0) for _, values in lines.values()):
            cell.set_yscale("log")
        cell.legend(fontsize=7.5, **_OUTSIDE)
    for cell in axes[len(panels) :]:
        cell.set_visible(False)
    return drawing
