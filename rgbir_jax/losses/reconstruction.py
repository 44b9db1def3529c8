"""The l1 distance of L_simple, L_cross and L_code (section 3.3)."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def l1(x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Float[Array, ""]:
    """Computes E‖x − y‖₁, the absolute difference averaged over the batch and all elements.

    It is the mean over elements, not their sum: lambda_recon = 5 is set for the mean.
    """
    return jnp.mean(jnp.abs(x - y))
