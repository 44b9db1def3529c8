"""The picture of a person: surfaces, light, lens and grain."""

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
    """Draws a person. The same arguments give the same picture.

    Args:
        identity: the person.
        pose: the person's pose and what hides the person.
        camera: the camera; the picture of an infrared camera has three equal channels.
        seed: the seed of the grain, the crop of the background and the occluder's material, not negative.
        size: the height and width of the picture in pixels.

    Returns:
        The picture in RGB, 0..255.
    """
    rng = np.random.default_rng(seed)
    height, width = (_SUPERSAMPLING * side for side in size)
    surface, parts = figure(identity, pose, height, width)
    light = _lamp(pose, parts) if camera.infrared else _daylight(camera, pose, parts)
    radiance = camera.strength * _reflectance(identity, camera, surface, rng) * light
    picture = Image.fromarray(np.clip(255 * radiance, 0, 255).astype(np.uint8).squeeze()).reduce(_SUPERSAMPLING)
    picture = picture.filter(ImageFilter.GaussianBlur(camera.blur * size[0] / 128))
    pixels = np.asarray(picture, np.float32)
    pixels = pixels + 255 * camera.noise * rng.standard_normal(pixels.shape, np.float32)
    pixels = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=2) if camera.infrared else pixels


def _reflectance(identity: Identity, camera: Camera, surface: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the reflectance of each pixel in the camera's channels: float32 [height, width, 3 or 1]."""
    height, width = surface.shape
    place = background(camera.place, height, width)
    start = rng.integers(0, place.shape[1] - width + 1)
    table = np.zeros((len(Surface), 4), np.float32)
    for name, material in materials(identity).items():
        table[name] = (*material.colour, material.infrared)
    table[Surface.OCCLUDER] = rng.uniform(0.2, 0.7, 4)
    channels = slice(3, 4) if camera.infrared else slice(0, 3)
    person = table[:, channels][surface]
    return np.where((surface == Surface.BACKGROUND)[..., None], place[:, start : start + width, channels], person)


def _daylight(camera: Camera, pose: Pose, parts: np.ndarray) -> np.ndarray:
    """Returns coloured light from above, with a shadow at the feet: float32 [height, width, 3]."""
    y, x = _grid(parts)
    shadow = 1 - 0.45 * np.exp(-(((y - pose.y) / 0.02) ** 2)) * np.exp(-(((x - pose.x) / 0.25) ** 2))
    brightness = np.where(parts == 0, shadow, _relief(parts)) * (1.05 - 0.2 * y)
    return brightness[..., None] * np.asarray(camera.light, np.float32)


def _lamp(pose: Pose, parts: np.ndarray) -> np.ndarray:
    """Returns the light of the camera's lamp, darker in the corners and with distance: float32 [height, width, 1]."""
    y, x = _grid(parts)
    spot = 1.12 / (1 + 0.35 * ((2 * y - 0.8) ** 2 + (2 * x - 1) ** 2))
    distance = 1 + 0.35 * np.clip((pose.y - y) / 0.3, 0, 1)  # to floor and wall; 1 at the person
    return (spot * np.where(parts == 0, distance**-2, _relief(parts)))[..., None]


def _grid(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels' (y, x) in picture heights and widths: float32 [height, 1] and [1, width]."""
    height, width = parts.shape
    return np.linspace(0, 1, height, dtype=np.float32)[:, None], np.linspace(0, 1, width, dtype=np.float32)[None, :]


def _relief(parts: np.ndarray) -> np.ndarray:
    """Returns the shading of round limbs, darker towards the left and right edges: float32 [height, width], up to 1."""
    reach = max(1, parts.shape[0] // 80)
    edges = np.zeros(parts.shape, bool)
    differences = parts[:, reach:] != parts[:, :-reach]
    edges[:, reach:] |= differences
    edges[:, :-reach] |= differences
    shade = Image.fromarray(255 * edges.view(np.uint8)).filter(ImageFilter.BoxBlur(reach))
    return 1 - np.asarray(shade, np.float32) * np.float32(0.45 / 255)
