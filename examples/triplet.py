"""A custom loss in the image stage: a triplet loss on the appearance code a.

    python train.py --config examples/triplet.py --workdir runs/triplet
    python eval.py --workdir runs/triplet

Every anchor x_1 already comes with a second image of its identity and with x_2 of another one, so their codes are a
triplet. A term is logged under its name and has its weight in the config, like all others.
"""

import jax
import jax.numpy as jnp

from configs import quickstart
from rgbir_jax.stages.image import ImageSystem


class TripletImageSystem(ImageSystem):
    """The image stage with L_triplet_a = E[max(0, margin + d(a_1, a_positive) - d(a_1, a_2))]."""

    def same_identity_terms(self, x, targets):
        """Adds L_triplet_a."""
        terms = super().same_identity_terms(x, targets)
        near, far = distance(x.a_1, x.a_positive), distance(x.a_1, x.a_2)
        return terms | {"L_triplet_a": jnp.mean(jax.nn.relu(self.config.margin + near - far))}


def distance(a, b):
    """The root mean square difference between codes [n, slices, channels]: [n]."""
    return jnp.sqrt(jnp.mean((a - b) ** 2, axis=(1, 2)) + 1e-12)


def get_config():
    """The quickstart with this stage."""
    config = quickstart.get_config()
    config.image.stage = "triplet:TripletImageSystem"
    config.image.margin = 0.3
    config.image.weights.L_triplet_a = 0.5
    return config
