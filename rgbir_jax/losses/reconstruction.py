"""The l1 distance of L_simple, L_cross and L_code (section 3.3)."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def l1(x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Float[Array, ""]:
    """E‖x − y‖₁: the absolute difference averaged over the batch and over all elements.

    The mean over elements, and not their sum, is what lambda_recon = 5 is set for.
    """
    return jnp.mean(jnp.abs(x - y))
