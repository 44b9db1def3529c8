"""Cameras and the places they look at."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw


@dataclass(frozen=True)
class Camera:
    """A camera on a wall.

    Attributes:
        number: the camera's number, as in the folder `cam1` or in `c1` of a file name.
        place: the seed of the background; cameras in the same place share it.
        infrared: whether it sees near infrared, lit by its own lamp, instead of visible light.
        light: the red, green and blue intensity of the visible light.
        strength: the exposure, 1 for a bright picture.
        blur: the blur radius in pixels for a picture height of 128.
        noise: the standard deviation of the grain, as a fraction of the largest pixel value.
    """

    number: int
    place: int
    infrared: bool
    light: tuple[float, float, float]
    strength: float
    blur: float
    noise: float


SYSU_CAMERAS = (
    Camera(1, 11, False, (1.0, 0.97, 0.9), 0.95, 0.3, 0.015),
    Camera(2, 22, False, (1.0, 0.88, 0.72), 0.85, 0.5, 0.02),
    Camera(3, 22, True, (1.0, 1.0, 1.0), 1.1, 0.5, 0.035),
    Camera(4, 44, False, (0.88, 0.95, 1.0), 1.15, 0.3, 0.012),
    Camera(5, 55, False, (0.95, 1.0, 0.92), 0.75, 0.6, 0.03),
    Camera(6, 66, True, (1.0, 1.0, 1.0), 0.95, 0.65, 0.045),
)

MARKET_CAMERAS = (
    *(camera for camera in SYSU_CAMERAS if not camera.infrared),
    Camera(3, 33, False, (1.0, 0.93, 0.86), 1.05, 0.4, 0.018),
    Camera(6, 77, False, (0.93, 0.96, 1.0), 0.8, 0.5, 0.025),
)

# A pair that looks at one place. The infrared of the second is reflected, as all that is drawn, and not thermal.
REGDB_CAMERAS = (
    Camera(1, 88, False, (1.0, 0.95, 0.9), 1.0, 0.5, 0.02),
    Camera(2, 88, True, (1.0, 1.0, 1.0), 1.0, 0.7, 0.03),
)

# Each sees in visible light by day, and in infrared by night.
_LLCM_BY_DAY = (
    Camera(1, 101, False, (1.0, 0.97, 0.9), 0.8, 0.4, 0.03),
    Camera(2, 102, False, (1.0, 0.88, 0.72), 0.7, 0.5, 0.035),
    Camera(3, 103, False, (0.9, 0.96, 1.0), 0.75, 0.6, 0.03),
    Camera(4, 104, False, (0.88, 0.95, 1.0), 0.9, 0.3, 0.025),
    Camera(5, 105, False, (0.95, 1.0, 0.92), 0.65, 0.6, 0.04),
    Camera(6, 106, False, (1.0, 0.93, 0.86), 0.85, 0.4, 0.03),
    Camera(7, 107, False, (0.93, 0.96, 1.0), 0.7, 0.5, 0.035),
    Camera(8, 108, False, (1.0, 0.9, 0.8), 0.8, 0.5, 0.03),
    Camera(9, 109, False, (1.0, 1.0, 0.95), 0.75, 0.4, 0.03),
)
LLCM_CAMERAS = (*_LLCM_BY_DAY, *(replace(camera, infrared=True, strength=1.05) for camera in _LLCM_BY_DAY))


@lru_cache(maxsize=32)
def background(place: int, height: int, width: int) -> Float[np.ndarray, "height panorama 4"]:
    """Draws what is behind the person, 1.5 times as wide as the picture so that it can be cropped.

    Args:
        place: the camera's place.
        height: the height of the picture in pixels.
        width: the width of the picture in pixels.

    Returns:
        Reflectance in red, green, blue and infrared, 0..1.
    """
    rng = np.random.default_rng(place)
    panorama = width * 3 // 2
    horizon = rng.uniform(0.55, 0.75) * height

    def paint(tones) -> np.ndarray:
        """Draws the place's shapes in the given eight tones, 0..255."""
        canvas = Image.new("RGB", (panorama, height), tones[0])
        pen = ImageDraw.Draw(canvas)
        pen.rectangle((0, horizon, panorama, height), fill=tones[1])
        shapes = np.random.default_rng(place + 1)
        for tone in tones[2:6]:  # doors, windows, boards
            left, top = shapes.uniform(0, panorama), shapes.uniform(0, 0.5) * height
            pen.rectangle(
                (left, top, left + shapes.uniform(0.1, 0.35) * panorama, top + shapes.uniform(0.1, 0.45) * height),
                fill=tone,
            )
        for _ in range(4):  # floor joints
            y = shapes.uniform(horizon, height)
            right = y + shapes.uniform(-0.05, 0.05) * height
            pen.line((0, y, panorama, right), fill=tones[6], width=max(1, height // 96))
        for _ in range(2):  # posts
            x = shapes.uniform(0, panorama)
            pen.line((x, 0, x, horizon), fill=tones[7], width=max(1, height // 40))
        return np.asarray(canvas, np.float32) / 255

    colours = [tuple(int(v) for v in rng.integers(70, 210) + rng.integers(-20, 20, 3)) for _ in range(8)]
    infrared = [(int(rng.integers(40, 190)),) * 3 for _ in range(8)]
    return np.concatenate([paint(colours), paint(infrared)[..., :1]], axis=-1)
