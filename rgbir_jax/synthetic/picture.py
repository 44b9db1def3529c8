"""A person before a camera: surfaces, light, lens and grain."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFilter

from rgbir_jax.synthetic.camera import Camera, background
from rgbir_jax.synthetic.figure import figure
from rgbir_jax.synthetic.identity import Identity
from rgbir_jax.synthetic.pose import Pose
from rgbir_jax.synthetic.surface import Surface, materials

_SUPERSAMPLING = 2


def draw(
    identity: Identity, pose: Pose, camera: Camera, seed: int, size: tuple[int, int] = (128, 64)
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws a person; the same arguments give the same picture.

    Args:
        identity: who.
        pose: how they stand and what hides them.
        camera: who looks; an infrared one gives three equal channels.
        seed: of the grain, the background's place and the occluder's material, not negative.
        size: height and width in pixels.

    Returns:
        RGB, uint8.
    """
    rng = np.random.default_rng(seed)
    height, width = (_SUPERSAMPLING * side for side in size)
    surface, part = figure(identity, pose, height, width)
    light = _lamp(pose, part) if camera.infrared else _daylight(camera, pose, part)
    lit = camera.strength * _reflectance(identity, camera, surface, rng) * light
    picture = Image.fromarray(np.clip(255 * lit, 0, 255).astype(np.uint8).squeeze()).reduce(_SUPERSAMPLING)
    picture = picture.filter(ImageFilter.GaussianBlur(camera.blur * size[0] / 128))
    seen = np.asarray(picture, np.float32)
    seen = seen + 255 * camera.noise * rng.standard_normal(seen.shape, np.float32)
    seen = np.clip(np.round(seen), 0, 255).astype(np.uint8)
    return np.repeat(seen[..., None], 3, axis=2) if camera.infrared else seen


def _reflectance(identity: Identity, camera: Camera, surface: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What each pixel reflects of the light that the camera sees: float32 [height, width, 3 or 1]."""
    height, width = surface.shape
    behind = background(camera.place, height, width)
    start = rng.integers(0, behind.shape[1] - width + 1)
    table = np.zeros((len(Surface), 4), np.float32)
    for name, material in materials(identity).items():
        table[name] = (*material.colour, material.infrared)
    table[Surface.OCCLUDER] = rng.uniform(0.2, 0.7, 4)
    channels = slice(3, 4) if camera.infrared else slice(0, 3)
    person = table[:, channels][surface]
    return np.where((surface == Surface.BACKGROUND)[..., None], behind[:, start : start + width, channels], person)


def _daylight(camera: Camera, pose: Pose, part: np.ndarray) -> np.ndarray:
    """Coloured light from above, and a shadow at the feet: float32 [height, width, 3]."""
    y, x = _grid(part)
    shadow = 1 - 0.45 * np.exp(-(((y - pose.y) / 0.02) ** 2)) * np.exp(-(((x - pose.x) / 0.25) ** 2))
    brightness = np.where(part == 0, shadow, _relief(part)) * (1.05 - 0.2 * y)
    return brightness[..., None] * np.asarray(camera.light, np.float32)


def _lamp(pose: Pose, part: np.ndarray) -> np.ndarray:
    """The camera's own lamp, a spot: it falls off to the corners and with the distance: float32 [height, width, 1]."""
    y, x = _grid(part)
    spot = 1.12 / (1 + 0.35 * ((2 * y - 0.8) ** 2 + (2 * x - 1) ** 2))
    distance = 1 + 0.35 * np.clip((pose.y - y) / 0.3, 0, 1)  # of floor and wall, 1 where the person stands
    return (spot * np.where(part == 0, distance**-2, _relief(part)))[..., None]


def _grid(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(y, x) in picture heights and widths: float32 [height, 1] and [1, width]."""
    height, width = part.shape
    return np.linspace(0, 1, height, dtype=np.float32)[:, None], np.linspace(0, 1, width, dtype=np.float32)[None, :]


def _relief(part: np.ndarray) -> np.ndarray:
    """Limbs are round, so each is darker towards its left and right edge: float32 [height, width], up to 1."""
    reach = max(1, part.shape[0] // 80)
    edge = np.zeros(part.shape, bool)
    differs = part[:, reach:] != part[:, :-reach]
    edge[:, reach:] |= differs
    edge[:, :-reach] |= differs
    soft = Image.fromarray(255 * edge.view(np.uint8)).filter(ImageFilter.BoxBlur(reach))
    return 1 - np.asarray(soft, np.float32) * np.float32(0.45 / 255)
