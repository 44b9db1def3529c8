"""Identities: a body and its clothes.

The visible colour of the clothes is independent of their brightness in infrared.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

# A repeated value is drawn more often.
HAIR = ("bald", "short", "full", "long", "ponytail", "bun")
HATS = ("none", "none", "none", "cap", "beanie", "brim")
SLEEVES = ("none", "short", "long")
LOWERS = ("trousers", "trousers", "shorts", "skirt")
PATTERNS = ("plain", "plain", "across", "down", "checks", "print")
PRINTS = ("disc", "band", "triangle")
BAGS = ("none", "none", "backpack", "shoulder", "handbag")

Colour = tuple[float, float, float]
T = TypeVar("T")

SKIN_INFRARED = 0.62  # a constant, because skin varies little in near infrared


@dataclass(frozen=True)
class Material:
    """What a surface reflects.

    Attributes:
        colour: the reflectance in red, green and blue, 0..1.
        infrared: the reflectance in near infrared, 0..1. Dyes make it independent of the colour.
    """

    colour: Colour
    infrared: float


@dataclass(frozen=True)
class Garment:
    """A piece of clothing made of one or two materials.

    Attributes:
        pattern: the pattern, one of PATTERNS.
        main: the main material.
        second: the material of the stripes, checks or print; the same as `main` if the pattern is "plain".
        period: the period of stripes and checks, in body heights.
        figure: the figure that a print shows, one of PRINTS.
    """

    pattern: str
    main: Material
    second: Material
    period: float
    figure: str


@dataclass(frozen=True)
class Identity:
    """A person. Lengths are in body heights.

    Attributes:
        height: the body height as a fraction of the picture height, before the pose scales it.
        build: the width of the body, about 1.
        legs: the height of the hips above the ground.
        head: the size of the head, about 1.
        hair, hat, sleeves, lower, bag: the kind of each, one of HAIR, HATS, SLEEVES, LOWERS, BAGS.
        hem: the distance from the hips down to the hem of the upper garment.
        skirt: the length of a skirt.
        bag_size: the size of the bag, about 1.
        bag_side: the side of a bag that hangs on one side, -1 or 1.
        upper, lower_garment: the clothes.
        skin, hair_material, shoes, hat_material, bag_material: the other materials.
    """

    height: float
    build: float
    legs: float
    head: float
    hair: str
    hat: str
    sleeves: str
    lower: str
    bag: str
    hem: float
    skirt: float
    bag_size: float
    bag_side: int
    upper: Garment
    lower_garment: Garment
    skin: Material
    hair_material: Material
    shoes: Material
    hat_material: Material
    bag_material: Material

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Identity":
        """Draws a random person."""
        tone = rng.uniform(0.35, 0.95)
        dark = rng.uniform(0.05, 0.45)
        return cls(
            height=rng.uniform(0.76, 0.95),
            build=rng.uniform(0.72, 1.4),
            legs=rng.uniform(0.45, 0.53),
            head=rng.uniform(0.88, 1.15),
            hair=str(rng.choice(HAIR)),
            hat=str(rng.choice(HATS)),
            sleeves=str(rng.choice(SLEEVES, p=(0.15, 0.4, 0.45))),
            lower=str(rng.choice(LOWERS)),
            bag=str(rng.choice(BAGS)),
            hem=rng.choice([rng.uniform(0, 0.06), rng.uniform(0.1, 0.2)], p=(0.7, 0.3)),
            skirt=rng.uniform(0.13, 0.34),
            bag_size=rng.uniform(0.75, 1.35),
            bag_side=int(rng.choice((-1, 1))),
            upper=_garment(rng, PATTERNS),
            lower_garment=_garment(rng, PATTERNS[:-1]),
            skin=Material((tone, 0.78 * tone, 0.66 * tone), SKIN_INFRARED),
            hair_material=Material((dark, 0.8 * dark, 0.6 * dark), rng.uniform(0.15, 0.4)),
            shoes=_dyed(rng),
            hat_material=_dyed(rng),
            bag_material=_dyed(rng),
        )


def _colour(rng: np.random.Generator) -> Colour:
    return colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0, 0.9), rng.uniform(0.15, 0.95))


def _infrared(rng: np.random.Generator) -> float:
    return rng.uniform(0.1, 0.95)


def _dyed(rng: np.random.Generator) -> Material:
    """Draws a colour and, independently, an infrared reflectance."""
    return Material(_colour(rng), _infrared(rng))


def _garment(rng: np.random.Generator, patterns: tuple[str, ...]) -> Garment:
    """Draws a garment whose pattern is visible both in visible light and in infrared.

    The two colours are chosen independently of the two infrared reflectances. So the material that is brighter in
    visible light is not more likely to be brighter in infrared.
    """
    pattern = str(rng.choice(patterns))
    if pattern == "plain":
        main = second = _dyed(rng)
    else:
        colours = _distinct(rng, _colour, _luma, least=0.2)
        main, second = map(Material, colours, _distinct(rng, _infrared, float, least=0.3))
    return Garment(pattern, main, second, rng.uniform(0.045, 0.12), str(rng.choice(PRINTS)))


def _distinct(
    rng: np.random.Generator, draw: Callable[[np.random.Generator], T], brightness: Callable[[T], float], least: float
) -> tuple[T, T]:
    """Draws two values whose brightness differs by at least `least`."""
    while True:
        first, second = draw(rng), draw(rng)
        if abs(brightness(first) - brightness(second)) >= least:
            return first, second


def _luma(colour: Colour) -> float:
    red, green, blue = colour
    return 0.3 * red + 0.59 * green + 0.11 * blue
