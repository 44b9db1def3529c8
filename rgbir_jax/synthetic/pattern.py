"""Stripes, checks and prints of garments."""

import numpy as np
from jaxtyping import Bool, Float

from rgbir_jax.synthetic.identity import Garment

_CHEST = 0.29  # y of the middle of a print


def pattern(
    garment: Garment, x: Float[np.ndarray, "1 width"], y: Float[np.ndarray, "height 1"], edge: float | None
) -> Bool[np.ndarray, "height width"]:
    """Returns the mask of the pixels where a garment shows its second material.

    Args:
        garment: the garment; its pattern must not be "plain".
        x: the distance of each pixel column to the right of the spine, in body heights.
        y: the distance of each pixel row below the top of the head, in body heights.
        edge: the distance of chest and back from the spine in body heights for a side view, otherwise None.

    Raises:
        ValueError: the pattern or the print is unknown.
    """
    across = np.mod(y, garment.period) < garment.period / 2
    down = np.mod(x + 0.25 * garment.period, garment.period) < garment.period / 2
    match garment.pattern:
        case "across":
            return np.broadcast_to(across, (len(y), x.shape[1]))
        case "down":
            return np.broadcast_to(down, (len(y), x.shape[1]))
        case "checks":
            return across ^ down
        case "print":
            # The print is on chest and back, so a side view shows half of each.
            return _print(garment.figure, x if edge is None else edge - np.abs(x), y - _CHEST)
        case unknown:
            raise ValueError(f'pattern "{unknown}" is unknown.')


def _print(figure: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    match figure:
        case "disc":
            return x**2 + y**2 < 0.062**2
        case "band":
            return np.broadcast_to(np.abs(y) < 0.045, (len(y), x.shape[1]))
        case "triangle":
            return (y > -0.06) & (y < 0.07) & (np.abs(x) < 0.6 * (y + 0.06))
        case unknown:
            raise ValueError(f'print "{unknown}" is unknown.')
