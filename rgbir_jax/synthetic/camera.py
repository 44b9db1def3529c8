"""The cameras: where they look, their light and their faults."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw


@dataclass(frozen=True)
class Camera:
    """A camera on a wall.

    Attributes:
        number: as in the folder `cam1` or the file name's `c1`.
        place: seed of what stands behind the person; cameras in the same place share it.
        infrared: sees near infrared by its own lamp.
        light: red, green and blue of the visible light.
        strength: exposure, 1 for a bright picture.
        blur: radius in pixels at a picture height of 128.
        noise: standard deviation of the grain, of 0..1.
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


@lru_cache(maxsize=32)
def background(place: int, height: int, width: int) -> Float[np.ndarray, "height wide 4"]:
    """What is behind the person, red, green, blue and infrared reflectance, wider than the picture to crop from.

    Args:
        place: of a camera.
        height: of the picture in pixels.
        width: of the picture in pixels.
    """
    rng = np.random.default_rng(place)
    wide = width * 3 // 2
    horizon = rng.uniform(0.55, 0.75) * height

    def paint(tones) -> np.ndarray:
        """One channel set: the same shapes in given tones, 0..255."""
        canvas = Image.new("RGB", (wide, height), tones[0])
        pen = ImageDraw.Draw(canvas)
        pen.rectangle((0, horizon, wide, height), fill=tones[1])
        shapes = np.random.default_rng(place + 1)
        for tone in tones[2:6]:  # doors, windows, boards
            left, top = shapes.uniform(0, wide), shapes.uniform(0, 0.5) * height
            pen.rectangle(
                (left, top, left + shapes.uniform(0.1, 0.35) * wide, top + shapes.uniform(0.1, 0.45) * height),
                fill=tone,
            )
        for _ in range(4):  # joints of the floor
            y = shapes.uniform(horizon, height)
            pen.line((0, y, wide, y + shapes.uniform(-0.05, 0.05) * height), fill=tones[6], width=max(1, height // 96))
        for _ in range(2):  # posts
            x = shapes.uniform(0, wide)
            pen.line((x, 0, x, horizon), fill=tones[7], width=max(1, height // 40))
        return np.asarray(canvas, np.float32) / 255

    colours = [tuple(int(v) for v in rng.integers(70, 210) + rng.integers(-20, 20, 3)) for _ in range(8)]
    infrared = [(int(rng.integers(40, 190)),) * 3 for _ in range(8)]
    return np.concatenate([paint(colours), paint(infrared)[..., :1]], axis=-1)
