"""The batch-hard triplet loss across modalities, of the global batch."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rgbir_jax.losses.ranking import batch_hard_triplet
from rgbir_jax.training import parallel


def across_modalities(
    x: Float[Array, "identity 2 shot dim"], label: Int[Array, "identity 2 shot"], margin: float
) -> Float[Array, ""]:
    """Computes the mean L_triplet of this device's anchors: RGB anchors look for IR images only, and the reverse."""
    anchors = [(x[:, m].reshape(-1, x.shape[-1]), label[:, m].reshape(-1)) for m in (0, 1)]
    by_anchor = []
    for m in (0, 1):
        others, y_others = map(parallel.gather, anchors[1 - m])
        by_anchor.append(batch_hard_triplet(*anchors[m], others, y_others, margin))
    return jnp.mean(jnp.stack(by_anchor))
