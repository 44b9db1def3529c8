"""Pairs of images within a batch, and the batches that have none (section 3.3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int
from ml_collections import ConfigDict

from rgbir_jax.errors import UserError

SWAPS = ("any", "within", "across")


def check_identities(batch: ConfigDict) -> None:
    """Checks that each part of a batch has two identities, because pairs are found within a part.

    Args:
        batch: `identities` and `parts`.

    Raises:
        UserError: if a part has fewer.
    """
    if batch.identities // batch.parts >= 2:
        return
    if batch.identities < 2:
        raise UserError("a batch of one identity has no different-identity pairs; set config.batch.identities >= 2.")
    raise UserError(
        f"config.batch.parts = {batch.parts} leaves one identity per part, but different-identity pairs are found "
        f"within a part; set config.batch.parts to {batch.identities // 2} or less."
    )


def check_shots(batch: ConfigDict) -> None:
    """Checks that each identity has two images of a modality, because L_cross pairs them.

    Args:
        batch: `shots`.

    Raises:
        UserError: if there is only one.
    """
    if batch.shots < 2:
        raise UserError(
            f"config.batch.shots = {batch.shots} leaves no second image of an identity, which L_cross needs; "
            f"set it to 2 or more."
        )


def check_both_modalities(recipe: ConfigDict, needs: str) -> None:
    """Checks that batches have RGB and IR, in this order.

    Args:
        recipe: `modalities`.
        needs: the beginning of the message: what needs both.

    Raises:
        UserError: if they have not.
    """
    if tuple(recipe.modalities) != (0, 1):
        raise UserError(f"{needs} RGB and IR; set config.modalities = (0, 1), not {recipe.modalities}.")


def partners(key: Array, identities: int, modalities: int, swaps: str = "any") -> Int[Array, "images"]:
    """Chooses for each anchor x_1 the anchor x_2 of another identity.

    The result is a permutation, so every image gives its appearance once. Identities are shifted by a random number
    that is never zero; the modality comes from a permutation drawn for each identity, or is always the same or the
    other one.

    Args:
        key: the key of this iteration, the same on every device.
        identities: the number of identities in the global batch, at least 2.
        modalities: the number of images of each identity.
        swaps: the modality of x_2, one of `SWAPS`: "any", "within" (that of x_1) or "across" (the other one).

    Returns:
        int32 places in the flattened [identity, modality], values 0..identities · modalities − 1.

    Raises:
        UserError: for a single identity, which has no partner.
    """
    if identities < 2:
        raise UserError("a batch of one identity has no different-identity pairs; set config.batch.identities >= 2.")
    shift_key, modality_key = jax.random.split(key)
    shift = jax.random.randint(shift_key, (), 1, identities)
    partner = (jnp.arange(identities) + shift) % identities
    if swaps == "any":
        modality = jax.vmap(lambda k: jax.random.permutation(k, modalities))(jax.random.split(modality_key, identities))
    else:
        modality = (jnp.arange(modalities) + (swaps == "across")) % modalities
    return (partner[:, None] * modalities + modality).reshape(-1)
