"""What a dataset's protocol asks: which images are looked for, and where."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int


@runtime_checkable
class Labelled(Protocol):
    """Images with the labels that decide what a probe may see."""

    @property
    def person_id(self) -> Int[np.ndarray, "n"]:
        """The person on each image."""
        ...

    @property
    def camera(self) -> Int[np.ndarray, "n"]:
        """The camera of each image."""
        ...

    @property
    def modality(self) -> Int[np.ndarray, "n"] | None:
        """The modality of each image, 0 RGB or 1 IR; None if it is not known."""
        ...


# Gallery images that a probe does not see: (probes, gallery) -> bool [probes, gallery].
Hidden = Callable[[Labelled, Labelled], Bool[np.ndarray, "p g"]]

# The form of average precision. "hits": the mean of the precision at each hit, the usual form. "trapezoid": the area
# under the precision-recall curve by trapezoids, as Market-1501's own program computes it.
AP = Literal["hits", "trapezoid"]

# What follows for tested persons who have images of one modality only, if every search is for the other one.
CANNOT_BE_FOUND = "They cannot be found: as probes they are not counted, and in galleries they are only distractors."


@dataclass(frozen=True, eq=False)
class Search:
    """Probes, the galleries that they are ranked against, and how ranks are counted.

    Attributes:
        name: the search's key in scores.json.
        title: the search in words.
        probes: rows of the table that the search was made for.
        galleries: one array of rows per trial.
        hidden: the gallery images to remove from a probe's ranked list.
        unit: what a rank counts: persons, each at their nearest image (SYSU-MM01, LLCM), or images (Market-1501,
            RegDB).
        ap: the form of average precision.
    """

    name: str
    title: str
    probes: Int[np.ndarray, "probes"]
    galleries: tuple[Int[np.ndarray, "_"], ...]
    hidden: Hidden
    unit: Literal["identity", "image"]
    ap: AP = "hits"


def nothing_hidden(probe: Labelled, gallery: Labelled) -> Bool[np.ndarray, "p g"]:
    """Hides nothing."""
    return np.zeros((len(probe.person_id), len(gallery.person_id)), bool)


def same_person_and_camera(probe: Labelled, gallery: Labelled) -> Bool[np.ndarray, "p g"]:
    """Hides a probe's own person in its own camera."""
    return (probe.person_id[:, None] == gallery.person_id) & (probe.camera[:, None] == gallery.camera)
