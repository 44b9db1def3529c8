"""What a network for both modalities sees of an image: colours, grey tones, or these in a channel per modality."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from rgbir_jax.data.augment import MEAN, STD
from rgbir_jax.errors import UserError
from rgbir_jax.lookup import quoted

INPUTS = ("rgb", "grey", "zero_padded")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # share of each channel in the grey tone


def grey_tone(x: Float[Array, "n h w 3"]) -> Float[Array, "n h w 1"]:
    """Returns the grey tones of normalised images, 0..1. Those of an infrared image are any of its equal channels."""
    return jnp.sum((x * STD + MEAN) * LUMA, axis=-1, keepdims=True)


def zero_padded(x: Float[Array, "n h w 3"], modality: Int[Array, "n"]) -> Float[Array, "n h w 2"]:
    """Puts the grey tones of RGB images into channel 0 and those of IR images into channel 1; the other one is 0."""
    return jnp.where(modality[:, None, None, None] == jnp.arange(2), grey_tone(x), 0)


def network_input(kind: str, x: Float[Array, "n h w 3"], modality: Int[Array, "n"]) -> Float[Array, "n h w channels"]:
    """Computes what a network sees.

    Args:
        kind: one of `INPUTS`: "rgb" for the image itself, "grey" for its grey tones in three channels, normalised as
            those of an IR image are, or "zero_padded".
        x: normalised images.
        modality: 0 RGB, 1 IR.
    """
    if kind == "rgb":
        return x
    return zero_padded(x, modality) if kind == "zero_padded" else (grey_tone(x) - MEAN) / STD


def input_of(section: ConfigDict) -> str:
    """Returns the input that the section of a stage names; stages from before the choice see RGB."""
    return section.get("input", "rgb")


def check_input(recipe: ConfigDict, name: str) -> None:
    """Checks that the stages whose networks a stage uses see the same input.

    Args:
        recipe: the whole config.
        name: the stage's name.

    Raises:
        UserError: if one sees another input. The message names it.
    """
    own = input_of(recipe[name])
    for earlier in filter(None, (recipe[name].get(key, "") for key in ("teacher", "start_from"))):
        if (other := input_of(recipe[earlier])) != own:
            raise UserError(
                f"{name} uses networks of {earlier}, which sees another input; set config.{earlier}.input to "
                f"{quoted(own)}, not {quoted(other)}."
            )
