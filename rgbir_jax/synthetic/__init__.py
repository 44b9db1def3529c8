"""Synthetic people for surveillance cameras, and datasets of their pictures in the trees of real datasets.

Identity, pose and camera are independent: `draw` combines any three.
"""

from rgbir_jax.synthetic.camera import LLCM_CAMERAS, MARKET_CAMERAS, REGDB_CAMERAS, SYSU_CAMERAS, Camera
from rgbir_jax.synthetic.counterfactual import DrawnDataset, open_drawn
from rgbir_jax.synthetic.identity import Identity
from rgbir_jax.synthetic.picture import draw
from rgbir_jax.synthetic.plan import Plan, exact_plan, folders_plan, llcm_plan, market_plan, regdb_plan, sysu_plan
from rgbir_jax.synthetic.pose import Pose
from rgbir_jax.synthetic.shot import Shot
from rgbir_jax.synthetic.writing import write

__all__ = [
    "LLCM_CAMERAS",
    "MARKET_CAMERAS",
    "REGDB_CAMERAS",
    "SYSU_CAMERAS",
    "Camera",
    "DrawnDataset",
    "Identity",
    "Plan",
    "Pose",
    "Shot",
    "draw",
    "exact_plan",
    "folders_plan",
    "llcm_plan",
    "market_plan",
    "open_drawn",
    "regdb_plan",
    "sysu_plan",
    "write",
]
