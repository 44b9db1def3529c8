"""Poses: everything that changes between two pictures of the same person by the same camera."""

from dataclasses import dataclass

import numpy as np

VIEWS = ("front", "back", "left", "right")


@dataclass(frozen=True)
class Pose:
    """A moment of a person's walk.

    Attributes:
        phase: the phase of the stride, 0..1.
        view: the direction of view, one of VIEWS; a person in the view "left" walks to the left.
        x: the horizontal position of the body's middle, in picture widths.
        y: the vertical position of the soles, in picture heights.
        scale: the size of the body relative to the identity's height.
        swing: the length of the stride, 1 for a brisk walk.
        occluder: the side of the picture that an object hides: "none", "left", "right" or "bottom".
        hidden: the fraction of the picture that it hides, 0..1.
    """

    phase: float
    view: str
    x: float
    y: float
    scale: float
    swing: float
    occluder: str
    hidden: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Pose":
        """Draws a random pose; one picture in five is partly hidden."""
        occluded = rng.uniform() < 0.2
        return cls(
            phase=rng.uniform(),
            view=str(rng.choice(VIEWS)),
            x=rng.uniform(0.42, 0.58),
            y=rng.uniform(0.955, 0.99),
            scale=rng.uniform(0.93, 1.03),
            swing=rng.uniform(0.3, 1.0),
            occluder=str(rng.choice(("left", "right", "bottom"))) if occluded else "none",
            hidden=rng.uniform(0.08, 0.25) if occluded else 0.0,
        )
