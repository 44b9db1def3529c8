"""A run as one HTML page that needs no other file."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from rgbir_jax.evaluation.disentanglement import Table
from rgbir_jax.evaluation.scores import systems
from rgbir_jax.files import writing
from rgbir_jax.visualize import style

SYSTEM_NAMES = {"raw_pixels": "raw pixels", "untrained": "untrained network"}


@dataclass(frozen=True)
class Shown:
    """A figure of the report.

    Attributes:
        name: the name of its PNG file, without ending.
        title: the heading.
        caption: a sentence or two about what the figure shows.
        figure: the figure itself.
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
    verdicts: Sequence[str] = (),
    measured: Sequence[Table] = (),
    figures: Sequence[Shown],
    way_out: str,
) -> Path:
    """Writes `report.html` and a PNG of every figure into a folder.

    Args:
        workdir: the folder, such as a run's.
        title: the headline.
        facts: what was run, by name.
        scores: the content of scores.json.
        notes: sentences that a reader must not miss.
        verdicts: sentences about disentanglement that are not among the notes.
        measured: tables of disentanglement.
        figures: the figures, in order.
        way_out: the end of the message if they cannot be written.

    Returns:
        The path of the page.

    Raises:
        UserError: if a file cannot be written.
    """
    pictures = []
    for shown in figures:
        path = workdir / f"{shown.name}.png"
        with writing(path, way_out):
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
        title=title,
        facts=facts,
        notes=notes,
        protocol=scores["protocol"],
        tables=_tables(scores),
        verdicts=verdicts,
        measured=measured,
        pictures=pictures,
    )
    path = workdir / "report.html"
    with writing(path, way_out):
        path.write_text(page)
    return path


def _tables(scores: Mapping[str, Any]) -> dict[str, list[tuple[str, dict]]]:
    """Returns rows (system, scores) by the title of the setting."""
    scored = systems(scores).items()
    return {
        title: [(SYSTEM_NAMES.get(system, system), by_setting[setting]) for system, by_setting in scored]
        for setting, title in scores["settings"].items()
    }
