"""A person before a camera: surfaces, light, lens and grain."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFilter

from rgbir_jax.data.drawing.camera import Camera, background
from rgbir_jax.data.drawing.figure import Surface, figure, materials
from rgbir_jax.data.drawing.identity import Identity
from rgbir_jax.data.drawing.pose import Pose

_SUPERSAMPLING = 2


def draw(
    identity: Identity, pose: Pose, camera: Camera, seed: int, size: tuple[int, int] = (128, 64)
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws a person; the same arguments give the same picture.

    Args:
        identity: who.
        pose: how they stand and what hides them.
        camera: who looks; an infrared one gives three equal channels.
        seed: of the grain and of the background's place, not negative.
        size: height and width in pixels.

    Returns:
        RGB, uint8.
    """
    rng = np.random.default_rng(seed)
    height, width = (_SUPERSAMPLING * side for side in size)
    surface = figure(identity, pose, height, width)
    reflectance = _reflectance(identity, camera, surface, rng)
    _occlude(reflectance, pose, rng)
    light = _lamp(pose, height, width) if camera.infrared else _daylight(camera, surface)
    image = np.clip(255 * camera.strength * reflectance * light, 0, 255).astype(np.uint8)
    picture = Image.fromarray(image.squeeze()).reduce(_SUPERSAMPLING)
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
    channels = slice(3, 4) if camera.infrared else slice(0, 3)
    person = table[:, channels][surface]
    return np.where((surface == Surface.BACKGROUND)[..., None], behind[:, start : start + width, channels], person)


def _occlude(reflectance: np.ndarray, pose: Pose, rng: np.random.Generator) -> None:
    """Puts a plain object before the person."""
    height, width = reflectance.shape[:2]
    tone = rng.uniform(0.2, 0.7)
    match pose.occluder:
        case "left":
            reflectance[:, : round(pose.hidden * width)] = tone
        case "right":
            reflectance[:, width - round(pose.hidden * width) :] = tone
        case "bottom":
            reflectance[height - round(pose.hidden * height) :] = tone


def _daylight(camera: Camera, surface: np.ndarray) -> np.ndarray:
    """Coloured light from above; bodies are darker towards their edges."""
    mask = Image.fromarray(np.where(surface != Surface.BACKGROUND, 255, 0).astype(np.uint8))
    inside = np.asarray(mask.filter(ImageFilter.BoxBlur(surface.shape[0] / 40)), np.float32) / 255
    round_body = np.where(surface != Surface.BACKGROUND, 0.55 + 0.45 * inside, 1.0)
    from_above = np.linspace(1.05, 0.85, surface.shape[0], dtype=np.float32)[:, None]
    return (round_body * from_above)[..., None] * np.asarray(camera.light, np.float32)


def _lamp(pose: Pose, height: int, width: int) -> np.ndarray:
    """The camera's own lamp: a spot that falls off towards the picture's corners."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] + 0.2
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] - 0.3 * (pose.x - 0.5)
    return (1.12 / (1 + 0.35 * (x**2 + y**2)))[..., None]
