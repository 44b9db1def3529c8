"""The surfaces of a picture and their materials."""

from enum import IntEnum

from rgbir_jax.synthetic.identity import Identity, Material


class Surface(IntEnum):
    """The surface at a pixel. `figure` stores it in 4 bits."""

    BACKGROUND = 0
    SKIN = 1
    HAIR = 2
    UPPER = 3
    UPPER_SECOND = 4
    LOWER = 5
    LOWER_SECOND = 6
    SHOES = 7
    HAT = 8
    BAG = 9
    OCCLUDER = 10


def materials(identity: Identity) -> dict[Surface, Material]:
    """Returns the materials of a person's surfaces."""
    return {
        Surface.SKIN: identity.skin,
        Surface.HAIR: identity.hair_material,
        Surface.UPPER: identity.upper.main,
        Surface.UPPER_SECOND: identity.upper.second,
        Surface.LOWER: identity.lower_garment.main,
        Surface.LOWER_SECOND: identity.lower_garment.second,
        Surface.SHOES: identity.shoes,
        Surface.HAT: identity.hat_material,
        Surface.BAG: identity.bag_material,
    }
