"""SDL's losses: an embedding x is the sum of u, which shows the identity, and of v, which shows the spectrum.

The publication's equations could not be read. The penalty "mean" is our reading of its words; "norm" is what the
released code computes, of a whole batch.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgbir_jax.losses.ranking import euclidean

PENALTIES = ("mean", "norm")


def disentanglement(
    x: Float[Array, "n dim"], u: Float[Array, "n dim"], v: Float[Array, "n dim"], penalty: str
) -> Float[Array, ""]:
    """Computes L_dis of unit vectors: E‖x − (u + v)‖² for "mean", and for "norm" the Frobenius norm of x − (u + v)."""
    if penalty == "norm":
        return euclidean(x.ravel(), (u + v).ravel())
    return jnp.mean(jnp.sum((x - u - v) ** 2, axis=1))


def dispelling(logits: Float[Array, "n classes"], penalty: str) -> Float[Array, ""]:
    """Computes L_disp from the logits that u's classifier gives v, which should name nobody.

    Args:
        logits: its logits.
        penalty: "mean" for E[−(1/C) Σ_c log p_c], smallest (log C) if all C identities are equally probable; "norm" for
            the Frobenius norm of logits − 1/C.
    """
    classes = logits.shape[1]
    if penalty == "norm":
        return euclidean(logits.ravel(), jnp.full(logits.size, 1 / classes))
    return -jnp.mean(jax.nn.log_softmax(logits))
