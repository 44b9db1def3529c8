"""Activation maps laid over their images."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

# Matplotlib's inferno at 17 positions: its lightness rises steadily, so it can be read without colour vision, in print.
_COLOURS = (
    "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 "
    "fcffa4"
)
COLOURS = np.array([list(bytes.fromhex(colour)) for colour in _COLOURS.split()], float)
OPACITY = 0.6


def overlay(images: UInt8[np.ndarray, "*batch 3"], maps: Float[np.ndarray, "*batch"]) -> UInt8[np.ndarray, "*batch 3"]:
    """Lays maps over grey copies of images: dark at 0, then red, and bright yellow at 1.

    Args:
        images: RGB.
        maps: values in 0..1.
    """
    grey = (images @ np.array([0.299, 0.587, 0.114]))[..., None]
    positions = np.linspace(0, 1, len(COLOURS))
    colours = np.stack([np.interp(maps, positions, channel) for channel in COLOURS.T], -1)
    return np.round((1 - OPACITY) * grey + OPACITY * colours).astype(np.uint8)


def overlay_of_any_size(
    image: UInt8[np.ndarray, "height width 3"], values: Float[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Lays a map over a grey copy of an image of another size; see `overlay`."""
    height, width = image.shape[:2]
    enlarged = Image.fromarray(values.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return overlay(image, np.clip(np.asarray(enlarged), 0, 1))
