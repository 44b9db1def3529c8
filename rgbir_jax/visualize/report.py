"""A run as one HTML page that needs no other file."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from rgbir_jax.evaluation.disentanglement import Table
from rgbir_jax.evaluation.scores import systems
from rgbir_jax.files import writing
from rgbir_jax.visualize import style

MOST_BYTES = 4_700_000  # of the pictures, so that the page stays below 5 MB
QUALITIES = (85, 70, 50, 30, 10)
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


@dataclass(frozen=True)
class Headline:
    """What a reader sees first.

    Attributes:
        rank1: rank-1 of the trained stage in the first search, in percent.
        mAP: its mAP.
        text: the search, who is looked for, and how.
        compared: what it is compared with.
        notes: sentences that a reader must not miss.
    """

    rank1: float
    mAP: float
    text: str
    compared: Table
    notes: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading: sentences, then tables, then figures."""

    title: str
    texts: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Shown] = ()

    @classmethod
    def of(cls, shown: Shown) -> "Section":
        """Makes a section of one figure."""
        return cls(shown.title, figures=[shown])


def write(
    workdir: Path,
    *,
    title: str,
    headline: Headline,
    facts: Mapping[str, str],
    scores: Mapping,
    sections: Sequence[Section],
    way_out: str,
) -> Path:
    """Writes `report.html` and a PNG of every figure into a folder. The page holds the figures as WebP, to be small.

    Args:
        workdir: the folder, such as a run's.
        title: the page's title.
        headline: what comes first.
        facts: what was run, by name; comes last.
        scores: the content of scores.json.
        sections: what comes after the scores.
        way_out: the end of the message if they cannot be written.

    Returns:
        The path of the page.

    Raises:
        UserError: if a file cannot be written.
    """
    paths = {}
    for shown in (shown for section in sections for shown in section.figures):
        paths[shown.name] = workdir / f"{shown.name}.png"
        with writing(paths[shown.name], way_out):
            style.save(shown.figure, paths[shown.name])
    environment = Environment(
        loader=PackageLoader("rgbir_jax.visualize", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=title,
        headline=headline,
        facts=facts,
        protocol=scores["protocol"],
        tables=_tables(scores),
        sections=sections,
        pictures=_pictures(paths),
    )
    path = workdir / "report.html"
    with writing(path, way_out):
        path.write_text(page)
    return path


def _pictures(paths: Mapping[str, Path]) -> dict[str, str]:
    """Returns pictures as lossy WebP in base64, in the best quality with which they fit into `MOST_BYTES`."""
    pictures = {}
    for quality in QUALITIES:
        pictures = {name: _webp(path, quality) for name, path in paths.items()}
        if sum(map(len, pictures.values())) <= MOST_BYTES:
            break
    return pictures


def _webp(path: Path, quality: int) -> str:
    with Image.open(path) as picture, io.BytesIO() as file:
        picture.convert("RGB").save(file, "WEBP", quality=quality)
        return base64.b64encode(file.getvalue()).decode()


def _tables(scores: Mapping[str, Any]) -> dict[str, list[tuple[str, dict]]]:
    """Returns rows (system, scores) by the title of the setting."""
    scored = systems(scores).items()
    return {
        title: [(SYSTEM_NAMES.get(system, system), by_setting[setting]) for system, by_setting in scored]
        for setting, title in scores["settings"].items()
    }
