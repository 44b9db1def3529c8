"""Hi-CMD's attributes: what the channels of an image's attribute code stand for."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from rgbir_jax.models.appearance_encoder import SLICES


class Attributes(NamedTuple):
    """The attribute code of images, in slots. Each slice of the code, one per AdaIN block of G, has some of every slot.

    Attributes:
        identity: t, such as clothes; half of the channels.
        pose: a quarter of the channels.
        illumination: the last quarter.
    """

    identity: Float[Array, "*n slices t"]
    pose: Float[Array, "*n slices quarter"]
    illumination: Float[Array, "*n slices quarter"]

    @classmethod
    def of(cls, code: Float[Array, "*n channels"]) -> "Attributes":
        """Splits codes whose number of channels is a multiple of 16."""
        slices = code.reshape(*code.shape[:-1], SLICES, -1)
        quarter = slices.shape[-1] // 4
        return cls(*jnp.split(slices, (2 * quarter, 3 * quarter), axis=-1))

    @property
    def slices(self) -> Float[Array, "*n slices channels"]:
        """The whole code as the generator takes it."""
        return jnp.concatenate(self, axis=-1)

    @property
    def t(self) -> Float[Array, "*n t"]:
        """The identity's attributes in a row."""
        return _in_a_row(self.identity)

    @property
    def e(self) -> Float[Array, "*n e"]:
        """Pose and illumination in a row: what is excluded from recognition."""
        return jnp.concatenate([_in_a_row(self.pose), _in_a_row(self.illumination)], axis=-1)


def _in_a_row(x: Float[Array, "*n slices c"]) -> Float[Array, "*n dim"]:
    return x.reshape(*x.shape[:-2], -1)
