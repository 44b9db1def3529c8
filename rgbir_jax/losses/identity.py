"""L_id and L_dis: losses on the identity distributions p (ours) and q (the teacher's)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cross_entropy(logits: Float[Array, "n classes"], label: Int[Array, "n"]) -> Float[Array, ""]:
    """Computes E[−log p(y|x)]: L_id_orig on real images, L_id_recon on swapped ones (section 3.3)."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(log_p, label[:, None], axis=1))


def smooth_cross_entropy(logits: Float[Array, "n classes"], label: Int[Array, "n"], epsilon: float) -> Float[Array, ""]:
    """Computes the cross-entropy with a smoothed target: 1 − ε on the label, and ε / classes on every identity.

    Args:
        logits: logits of p.
        label: identities, 0..classes − 1.
        epsilon: ε, 0..1.
    """
    return (1 - epsilon) * cross_entropy(logits, label) - epsilon * jnp.mean(jax.nn.log_softmax(logits))


def accuracy(logits: Float[Array, "n classes"], label: Int[Array, "n"]) -> Float[Array, ""]:
    """Returns the fraction of images whose most probable identity is correct."""
    return jnp.mean(jnp.argmax(logits, axis=1) == label)


def kl_divergence(logits_p: Float[Array, "n classes"], logits_q: Float[Array, "n classes"]) -> Float[Array, ""]:
    """Computes E[KL(p ‖ q)] = E[Σ p (log p − log q)], L_dis (section 3.4). Swap the arguments for KL(q ‖ p)."""
    log_p, log_q = jax.nn.log_softmax(logits_p), jax.nn.log_softmax(logits_q)
    return jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=1))


def symmetric_kl(logits_p: Float[Array, "n classes"], logits_q: Float[Array, "n classes"]) -> Float[Array, ""]:
    """Computes E[KL(p ‖ q) + KL(q ‖ p)]."""
    return kl_divergence(logits_p, logits_q) + kl_divergence(logits_q, logits_p)
