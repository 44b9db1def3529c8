"""Who lends whom an appearance: the different-identity pairs (section 3.3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int
from ml_collections import ConfigDict


def check_identities(batch: ConfigDict) -> None:
    """Checks that each part of a batch has two identities, because pairs are found within a part.

    Args:
        batch: `identities` and `parts`.

    Raises:
        ValueError: if a part has fewer.
    """
    if batch.identities // batch.parts >= 2:
        return
    if batch.identities < 2:
        raise ValueError("a batch of one identity has no different-identity pairs; set config.batch.identities >= 2.")
    raise ValueError(
        f"config.batch.parts = {batch.parts} leaves one identity per part, but different-identity pairs are found "
        f"within a part; set config.batch.parts to {batch.identities // 2} or less."
    )


def partners(key: Array, identities: int, modalities: int) -> Int[Array, "images"]:
    """For each anchor x_1 the anchor x_2 of another identity, whatever its modality.

    A permutation: every image lends its appearance once. The identity is another by a shift of the identities that
    is never zero; the modality comes from a permutation drawn for each identity.

    Args:
        key: of this iteration, the same on every device.
        identities: in the global batch, at least 2.
        modalities: images of each identity.

    Returns:
        int32 places in the flattened [identity, modality], values 0..identities · modalities − 1.

    Raises:
        ValueError: for a single identity, which has no partner.
    """
    if identities < 2:
        raise ValueError("a batch of one identity has no different-identity pairs; set config.batch.identities >= 2.")
    shift_key, modality_key = jax.random.split(key)
    shift = jax.random.randint(shift_key, (), 1, identities)
    partner = (jnp.arange(identities) + shift) % identities
    modality = jax.vmap(lambda k: jax.random.permutation(k, modalities))(jax.random.split(modality_key, identities))
    return (partner[:, None] * modalities + modality).reshape(-1)
