"""Stripes, checks and prints of garments."""

import numpy as np
from jaxtyping import Bool, Float

from rgbir_jax.synthetic.identity import Garment

_CHEST = 0.29  # middle of a print


def pattern(
    garment: Garment, x: Float[np.ndarray, "1 width"], y: Float[np.ndarray, "height 1"], edge: float | None
) -> Bool[np.ndarray, "height width"]:
    """Where a garment shows its second material.

    Args:
        garment: of any pattern but "plain".
        x: right of the spine, in body heights.
        y: below the crown, in body heights.
        edge: for a person seen from the side, how far chest and back are from the spine, in body heights.

    Raises:
        ValueError: for an unknown pattern or print.
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
            # Chest and back both wear it, so from the side each shows half of it.
            return _print(garment.figure, x if edge is None else edge - np.abs(x), y - _CHEST)
        case unknown:
            raise ValueError(f'pattern "{unknown}" is unknown.')


def _print(kind: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    match kind:
        case "disc":
            return x**2 + y**2 < 0.062**2
        case "band":
            return np.broadcast_to(np.abs(y) < 0.045, (len(y), x.shape[1]))
        case "triangle":
            return (y > -0.06) & (y < 0.07) & (np.abs(x) < 0.6 * (y + 0.06))
        case unknown:
            raise ValueError(f'print "{unknown}" is unknown.')
