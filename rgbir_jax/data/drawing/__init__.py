"""Drawn people for surveillance cameras: who, in what pose, seen by which camera, each a separate argument."""

from rgbir_jax.data.drawing.camera import MARKET_CAMERAS, SYSU_CAMERAS, Camera
from rgbir_jax.data.drawing.identity import Identity
from rgbir_jax.data.drawing.picture import draw
from rgbir_jax.data.drawing.pose import Pose

__all__ = ["MARKET_CAMERAS", "SYSU_CAMERAS", "Camera", "Identity", "Pose", "draw"]
