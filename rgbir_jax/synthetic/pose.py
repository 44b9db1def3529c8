"""How the person stands: everything that changes from one picture of a person to the next."""

from dataclasses import dataclass

import numpy as np

VIEWS = ("front", "back", "left", "right")


@dataclass(frozen=True)
class Pose:
    """A moment of a walk.

    Attributes:
        phase: of the stride, 0..1.
        view: the side that is seen, one of VIEWS.
        x: middle of the body, in picture widths.
        y: soles of the feet, in picture heights.
        scale: size of the body, 1 at its full height.
        swing: width of the stride, 1 for a brisk walk.
        occluder: "none", "left", "right" or "bottom": what hides a part of the picture.
        hidden: part of the picture that it hides, 0..1.
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
        """Any moment; one picture in five is partly hidden."""
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
