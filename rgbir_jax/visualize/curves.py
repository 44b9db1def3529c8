"""CMC curves of several systems, and what a stage's metrics.jsonl says of its training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rgbir_jax.visualize import style

_LINES = ("-", "--", "-.", ":")


def cmc_curves(curves: Mapping[str, Sequence[float]], ranks: int = 20) -> Figure:
    """The share of probes whose person is among the first k, by k.

    Args:
        curves: a system's name -> shares from rank 1, 0..1.
        ranks: how many to show.
    """
    made, (axes,) = style.figure(5.2, 3.6)
    for i, (name, shares) in enumerate(curves.items()):
        shown = np.asarray(shares[:ranks]) * 100
        axes.plot(np.arange(1, len(shown) + 1), shown, _LINES[i % 4], color=style.COLOURS[i], label=name)
    axes.set_xticks([1, *range(5, ranks + 1, 5)])
    axes.set(xlabel="rank k", ylabel="probes matched within k (%)", ylim=(0, 100), xlim=(1, ranks))
    axes.legend(frameon=False)
    return made


def read_log(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(steps, values) by name from a metrics.jsonl; where a resumed run wrote a step again, the later line counts."""
    series: dict[str, dict[int, float]] = {}
    for line in path.read_text().splitlines():
        values = json.loads(line)
        step = values.pop("step")
        for name, value in values.items():
            series.setdefault(name, {})[step] = value
    return {
        name: (np.array(sorted(points)), np.array([points[s] for s in sorted(points)]))
        for name, points in series.items()
    }


def training_curves(log: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Losses, validation scores, and the schedules of weights and learning rates, one panel a kind.

    Args:
        log: of `read_log`.
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
    made, axes = style.figure(8.6, 2.5 * -(-len(panels) // 2), -(-len(panels) // 2), min(2, len(panels)))
    for cell, (title, lines) in zip(axes, panels.items(), strict=False):
        for i, (name, (steps, values)) in enumerate(lines.items()):
            cell.plot(steps, values, _LINES[i // 10 % 4], color=style.COLOURS[i % 10], label=name, linewidth=1.1)
        cell.set(title=title, xlabel="iteration")
        if title in ("loss", "learning rate"):
            cell.set_yscale("log")
        cell.legend(frameon=False, fontsize=6, loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0)
    for cell in axes[len(panels) :]:
        cell.set_visible(False)
    return made
