"""A run as one HTML page that needs nothing beside it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from rgbir_jax.evaluation.scores import SETTING_NAMES, systems
from rgbir_jax.visualize import style

SYSTEM_NAMES = {"raw_pixels": "raw pixels", "untrained": "untrained network"}


@dataclass(frozen=True)
class Shown:
    """A figure of the report.

    Attributes:
        name: of its PNG file, without ending.
        title: heading.
        caption: what is to be seen, in a sentence or two.
        figure: itself.
    """

    name: str
    title: str
    caption: str
    figure: Figure


def write(
    workdir: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    scores: Mapping,
    notes: Sequence[str],
    figures: Sequence[Shown],
) -> Path:
    """Writes `report.html` and a PNG of every figure into a run's folder.

    Args:
        workdir: of the run.
        title: headline.
        facts: what was run, by name.
        scores: as in scores.json: protocol, dataset, and for each system scores by setting.
        notes: sentences that a reader must not miss.
        figures: in their order.

    Returns:
        The page's path.
    """
    pictures = []
    for shown in figures:
        path = workdir / f"{shown.name}.png"
        style.save(shown.figure, path)
        pictures.append((shown, base64.b64encode(path.read_bytes()).decode()))
    environment = Environment(
        loader=PackageLoader("rgbir_jax.visualize", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=title, facts=facts, notes=notes, protocol=scores["protocol"], tables=_tables(scores), pictures=pictures
    )
    path = workdir / "report.html"
    path.write_text(page)
    return path


def _tables(scores: Mapping[str, Any]) -> dict[str, list[tuple[str, dict]]]:
    """Rows (system, scores) by the name of the setting."""
    scored = systems(scores)
    settings = next(iter(scored.values()))
    return {
        SETTING_NAMES[setting]: [(SYSTEM_NAMES.get(system, system), found[setting]) for system, found in scored.items()]
        for setting in settings
    }
