"""The figures of the report that show what a stage generates, its `pictures`."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from rgbir_jax.commands.recipe import sample_rows
from rgbir_jax.commands.scoring import Scored
from rgbir_jax.data import augment
from rgbir_jax.stages.image import ImageSystem
from rgbir_jax.visualize import report, swaps

PAPER_ITERATIONS = 150_000  # of the image stage, as DG-Net trains with this many identities


class Grid(NamedTuple):
    """How pictures of one name are shown.

    Attributes:
        title: the heading.
        caption: what they show.
        draw: (sources, pictures) -> the figure.
    """

    title: str
    caption: str
    draw: Callable[[UInt8[np.ndarray, "n h w 3"], UInt8[np.ndarray, "n columns h w 3"]], Figure]


GRIDS = {
    "swapped": Grid(
        "Swapped images",
        "Test people: each structure (row) combined with each appearance (column). The originals are framed. The "
        "dotted diagonal is reconstruction; its target is the original itself.",
        swaps.swapped_grid,
    ),
    "cycles": Grid(
        "Swapped images, drawn back",
        "Each image in the place of a swapped one above is drawn from the structure that the swapped one shows, with "
        "the appearance of the original of its row, which is its target.",
        swaps.swapped_grid,
    ),
    "illuminated": Grid(
        "Swapped illumination",
        "Each row has the illumination of the original on its left, each column all else of the original above.",
        lambda sources, pictures: swaps.swapped_grid(sources, pictures, "illumination ↓\nall else →"),
    ),
    "between_appearances": Grid(
        "Between two appearances",
        "One structure per row, that of the left original. The appearance code moves from the left original's to the "
        "right one's.",
        lambda sources, pictures: swaps.strips(sources, pictures, "appearance"),
    ),
    "between_structures": Grid(
        "Between two structures",
        "One appearance per row, that of the left original. The structure code moves from the left original's to the "
        "right one's.",
        lambda sources, pictures: swaps.strips(sources, pictures, "structure"),
    ),
}


def figures(scored: Scored) -> list[report.Shown]:
    """Draws the pictures of a run's last stage from images of test people; none for a stage without pictures."""
    run = scored.run
    rows = sample_rows(run.config, scored.source.records)
    if not len(rows):
        return []
    sources = scored.source.read(rows)
    pictures = jax.jit(run.stages[run.last].pictures)(run.states[run.last], augment.normalise(sources))
    shown = [
        report.Shown(name, grid.title, grid.caption, grid.draw(sources, np.asarray(pictures[name])))
        for name, grid in GRIDS.items()
        if name in pictures
    ]
    if shown:
        shown[0] = dataclasses.replace(shown[0], caption=f"{shown[0].caption} {progress(scored)}")
    return shown


def progress(scored: Scored) -> str:
    """Says how far training got: iterations, those of the paper's system too, and the error of reconstructed images.

    The error is known of stages that render.
    """
    steps = scored.scores["steps"]
    is_papers = isinstance(scored.run.stages[scored.run.last], ImageSystem)
    trains = f"; the paper trains {PAPER_ITERATIONS:,}" if is_papers else ""
    drawn = f"Drawn after {steps:,} iterations{trains}."
    if not (error := scored.scores.get("reconstruction")):
        return drawn
    share = error["l1"] / error["mean_image"]
    return (
        f"{drawn} The mean L1 error of reconstructed test images is {error['l1']:.2f}, {share:.0%} of what their mean "
        f"image scores ({error['mean_image']:.2f})."
    )
