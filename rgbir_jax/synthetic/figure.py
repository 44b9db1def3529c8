"""The shape of a person: the surface at each pixel."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from rgbir_jax.synthetic.identity import Identity
from rgbir_jax.synthetic.pattern import pattern
from rgbir_jax.synthetic.pose import Pose
from rgbir_jax.synthetic.surface import Surface

Point = tuple[float, float]


def figure(
    identity: Identity, pose: Pose, height: int, width: int
) -> tuple[UInt8[np.ndarray, "height width"], UInt8[np.ndarray, "height width"]]:
    """Draws a person, and the object that hides part of the picture, without light.

    Args:
        identity: the person.
        pose: the person's pose.
        height: the height of the picture in pixels.
        width: the width of the picture in pixels.

    Returns:
        The `Surface` at each pixel, and the number of the body part at each pixel, 0 for the background.
    """
    body = _Body(identity, pose, height, width)
    body.draw()
    packed = np.array(body.canvas)
    surface, parts = packed & 15, packed >> 4
    x = (np.arange(width)[None, :] - body.left) / body.unit
    y = (np.arange(height)[:, None] - body.top) / body.unit
    for garment, main, second in (
        (identity.upper, Surface.UPPER, Surface.UPPER_SECOND),
        (identity.lower_garment, Surface.LOWER, Surface.LOWER_SECOND),
    ):
        if garment.pattern != "plain":
            mask = pattern(garment, x, y, body.shoulder if body.profile else None)
            surface[(surface == main) & mask] = second
    return surface, parts


class _Body:
    """Draws a body.

    Coordinates are in body heights: x from the spine to the right, y from the top of the head down. Arms and legs have
    a side, -1 or 1. It means left or right in the picture, or far or near in a side view.
    """

    def __init__(self, identity: Identity, pose: Pose, height: int, width: int):
        self.person, self.pose = identity, pose
        self.canvas = Image.new("L", (width, height), int(Surface.BACKGROUND))  # 16 * part + surface
        self.pen = ImageDraw.Draw(self.canvas)
        self.part = 0
        self.unit = identity.height * pose.scale * height
        self.left = pose.x * width
        self.top = pose.y * height - self.unit
        self.profile = pose.view in ("left", "right")  # whether this is a side view
        self.facing = -1 if pose.view == "left" else 1
        # The arm that carries the bag. A person who faces the camera has the left arm on the right of the picture.
        self.bag_arm = identity.bag_side * (1 if pose.view in ("front", "left") else -1)
        slim = 0.72 if self.profile else 1.0  # bodies are narrower from the side
        self.hip = 1 - identity.legs
        self.shoulder = 0.115 * identity.build**0.6 * slim
        self.waist = 0.09 * identity.build * slim
        self.breadth = identity.build * slim
        self.stride = float(np.sin(2 * np.pi * pose.phase)) * pose.swing

    def draw(self) -> None:
        """Draws from back to front. Each step is a body part with its own number."""
        bag_first = self.profile and self.bag_arm < 0
        if self.person.bag == "backpack":
            bag_first = self.pose.view != "back"
        steps = [
            *([self.bag] if bag_first else []),
            lambda: self.arm(-1),
            *([] if self.profile else [lambda: self.arm(1)]),
            lambda: self.leg(-1),
            lambda: self.leg(1),
            self.skirt,
            self.hair_behind,
            self.torso,
            self.straps,
            self.head,
            *([lambda: self.arm(1)] if self.profile else []),
            *([] if bag_first else [self.bag]),
            self.occluder,
        ]
        for self.part, step in enumerate(steps, start=1):
            step()

    def at(self, x: float, y: float) -> Point:
        return self.left + x * self.unit, self.top + y * self.unit

    def ink(self, surface: Surface) -> int:
        return 16 * self.part + surface

    def limb(self, points: Sequence[Point], thickness: float, surface: Surface) -> None:
        """Draws a bent tube with round joints."""
        corners = [self.at(*point) for point in points]
        radius = thickness * self.unit / 2
        self.pen.line(corners, fill=self.ink(surface), width=max(1, round(2 * radius)))
        for x, y in corners:
            self.pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=self.ink(surface))

    def outline(self, points: Sequence[Point], surface: Surface) -> None:
        self.pen.polygon([self.at(*point) for point in points], fill=self.ink(surface))

    def oval(self, x: float, y: float, rx: float, ry: float, surface: Surface) -> None:
        """Draws an ellipse from its centre and its two radii."""
        self.pen.ellipse((*self.at(x - rx, y - ry), *self.at(x + rx, y + ry)), fill=self.ink(surface))

    def leg(self, side: int) -> None:
        build, length, stride = self.person.build, self.person.legs, -side * self.stride
        thickness = 0.082 * build
        if self.profile:
            bend = max(0.0, -stride) * 0.09
            hip, knee = (0.0, self.hip), (0.1 * stride * self.facing, self.hip + 0.48 * length)
            ankle = ((0.2 * stride - bend) * self.facing, 0.965 - 0.3 * bend)
        else:
            x, lift = side * 0.048 * build, 0.05 * max(0.0, stride)
            hip, knee = (x, self.hip), (1.15 * x, self.hip + 0.48 * length - 0.4 * lift)
            ankle = (1.2 * x, 0.965 - lift)
        if self.person.lower == "trousers":
            self.limb([hip, knee, ankle], 0.75 * thickness, Surface.LOWER)
            self.limb([hip, knee], thickness, Surface.LOWER)
        else:
            self.limb([hip, knee, ankle], 0.055 * build, Surface.SKIN)
        if self.person.lower == "shorts":
            self.limb([hip, _between(hip, knee, 0.85)], 1.05 * thickness, Surface.LOWER)
        toe = 0.045 * self.facing if self.profile else 0.0
        self.limb([ankle, (ankle[0] + toe, ankle[1] + 0.012)], 0.046, Surface.SHOES)

    def skirt(self) -> None:
        if self.person.lower == "skirt":
            waist, bottom = 0.085 * self.breadth, self.hip + self.person.skirt
            hem = 0.115 * self.breadth + 0.03 * abs(self.stride) + 0.02
            top = self.hip - 0.06
            self.outline([(-waist, top), (waist, top), (hem, bottom), (-hem, bottom)], Surface.LOWER)

    def torso(self) -> None:
        hips = 0.092 * self.breadth
        self.outline(
            [(-hips, self.hip - 0.05), (hips, self.hip - 0.05), (hips, self.hip + 0.04), (-hips, self.hip + 0.04)],
            Surface.LOWER,
        )
        self.limb([(0.0, 0.1), (0.0, 0.16)], 0.048 * self.person.build**0.5, Surface.SKIN)
        hem, bottom = (0.098 + 0.1 * self.person.hem) * self.breadth, self.hip + 0.02 + self.person.hem
        radius = 0.03
        self.limb([(radius - self.shoulder, 0.188), (self.shoulder - radius, 0.188)], 2 * radius, Surface.UPPER)
        self.outline(
            [(-0.45 * self.shoulder, 0.146), (0.45 * self.shoulder, 0.146), (self.shoulder, 0.188), (self.waist, 0.36),
             (hem, bottom), (-hem, bottom), (-self.waist, 0.36), (-self.shoulder, 0.188)],
            Surface.UPPER,
        )  # fmt: skip

    def hand(self, side: int) -> Point:
        if self.profile:
            return (0.19 * side * self.stride + 0.035) * self.facing, 0.455
        return side * (max(self.shoulder, self.waist) + 0.026), 0.47 - 0.03 * max(0.0, side * self.stride)

    def arm(self, side: int) -> None:
        if self.profile:
            shoulder, elbow = (0.0, 0.19), (0.1 * side * self.stride * self.facing, 0.33)
        else:
            shoulder = (side * (self.shoulder - 0.014), 0.19)
            elbow = (side * (max(self.shoulder, self.waist) + 0.018), 0.335)
        hand, thickness = self.hand(side), 0.056 * self.person.build**0.5
        self.limb([shoulder, elbow, hand], 0.75 * thickness, Surface.SKIN)
        if self.person.sleeves == "long":
            self.limb([shoulder, elbow, _between(elbow, hand, 0.88)], thickness, Surface.UPPER)
        elif self.person.sleeves == "short":
            self.limb([shoulder, _between(shoulder, elbow, 0.65)], thickness, Surface.UPPER)

    @property
    def skull(self) -> tuple[float, float, float]:
        """Returns the head's radii rx and ry, and the y of its middle."""
        return 0.046 * self.person.head, 0.062 * self.person.head, 0.066

    def hair_behind(self) -> None:
        """Draws long hair that falls behind the shoulders of a person who faces the camera."""
        rx, ry, y = self.skull
        if self.person.hair == "long" and self.pose.view == "front":
            self.oval(0.0, y + 0.5 * ry, 1.45 * rx, 1.5 * ry, Surface.HAIR)

    def head(self) -> None:
        rx, ry, y = self.skull
        hair, view = self.person.hair, self.pose.view
        behind = -self.facing if self.profile else 0  # direction of the back of the head
        if hair == "full":
            self.oval(0.3 * rx * behind, y - 0.35 * ry, 1.4 * rx, 1.1 * ry, Surface.HAIR)
        if hair == "long" and self.profile:
            self.oval(0.75 * rx * behind, y + 0.6 * ry, 0.85 * rx, 1.5 * ry, Surface.HAIR)
        nose = 0.012 * self.facing if self.profile else 0.0
        self.oval(nose, y, rx, ry, Surface.SKIN)
        if hair != "bald":
            self.hair(behind)
        if self.profile:
            self.oval(nose + 0.95 * rx * self.facing, y + 0.2 * ry, 0.18 * rx, 0.13 * ry, Surface.SKIN)
        if view != "back":
            for x in (0.55 * rx * self.facing + nose,) if self.profile else (-0.42 * rx, 0.42 * rx):
                self.oval(x, y + 0.12 * ry, 0.15 * rx, 0.09 * ry, Surface.HAIR)  # eyes
        self.hat()

    def hair(self, behind: int) -> None:
        rx, ry, y = self.skull
        view, hair = self.pose.view, self.person.hair
        if view == "back":
            self.oval(0.0, y - 0.05 * ry, 1.05 * rx, ry, Surface.HAIR)
            if hair == "long":
                self.oval(0.0, y + 0.5 * ry, 1.35 * rx, 1.5 * ry, Surface.HAIR)
        else:
            self.oval(0.35 * rx * behind, y - 0.58 * ry, 1.08 * rx, 0.52 * ry, Surface.HAIR)
            if self.profile:
                self.oval(0.6 * rx * behind, y - 0.1 * ry, 0.6 * rx, 0.8 * ry, Surface.HAIR)
        if hair == "ponytail":
            x = 1.25 * rx * behind if self.profile else 1.1 * rx * (view == "front")
            self.limb([(x, y - 0.3 * ry), (1.3 * x, y + 1.5 * ry)], 0.03, Surface.HAIR)
        if hair == "bun":
            self.oval(rx * behind, y - 1.05 * ry, 0.55 * rx, 0.45 * ry, Surface.HAIR)

    def hat(self) -> None:
        rx, ry, y = self.skull
        top = y - 0.62 * ry
        if self.person.hat == "none":
            return
        self.oval(0.0, top, 1.14 * rx, 0.6 * ry, Surface.HAT)
        edge = top + 0.38 * ry
        if self.person.hat == "cap" and self.pose.view != "back":
            ends = (0.0, 2.1 * rx * self.facing) if self.profile else (-0.8 * rx, 0.8 * rx)
            self.limb([(ends[0], edge), (ends[1], edge + 0.05 * ry)], 0.024, Surface.HAT)
        if self.person.hat == "brim":
            self.limb([(-2 * rx, edge), (2 * rx, edge)], 0.022, Surface.HAT)
        if self.person.hat == "beanie":
            self.oval(0.0, top - 0.75 * ry, 0.4 * rx, 0.3 * ry, Surface.HAT)

    def straps(self) -> None:
        """Draws the straps of a backpack in front and side views."""
        if self.person.bag == "backpack" and self.pose.view == "front":
            for side in (-1, 1):
                x = side * 0.62 * self.shoulder
                self.limb([(x, 0.165), (x, 0.25), (1.25 * x, 0.35)], 0.022, Surface.BAG)
        elif self.person.bag == "backpack" and self.profile:
            front = 0.55 * self.shoulder * self.facing
            self.limb([(-front, 0.17), (0.5 * front, 0.165), (front, 0.25), (-front, 0.37)], 0.02, Surface.BAG)

    def bag(self) -> None:
        size = self.person.bag_size
        match self.person.bag:
            case "backpack":
                width, height = 0.143 * size, 0.12 * size
                if self.profile:
                    width *= 0.7
                x = -self.facing * (0.9 * self.shoulder + 0.2 * width) if self.profile else 0.0
                self.limb([(x, 0.21 + width / 2 - 0.03), (x, 0.25 + height)], width, Surface.BAG)
            case "shoulder":
                x = 0.01 * self.facing if self.profile else self.bag_arm * 0.115 * self.person.build
                w, h = 0.06 * size, 0.1 * size
                self.limb([(-0.5 * x, 0.165), (x, 0.46)], 0.018, Surface.BAG)
                self.outline(
                    [(x - w, 0.46), (x + w, 0.46), (x + 1.1 * w, 0.46 + h), (x - 1.1 * w, 0.46 + h)], Surface.BAG
                )
            case "handbag":
                x, y = self.hand(self.bag_arm)
                w, h = 0.05 * size, 0.096 * size
                self.limb([(x, y), (x, y + 0.05)], 0.016, Surface.BAG)
                self.outline(
                    [(x - w, y + 0.05), (x + w, y + 0.05), (x + w, y + 0.05 + h), (x - w, y + 0.05 + h)], Surface.BAG
                )

    def occluder(self) -> None:
        """Draws a plain object in front of the person."""
        width, height = self.canvas.size
        fraction = self.pose.hidden
        match self.pose.occluder:
            case "left":
                box = (0, 0, fraction * width, height)
            case "right":
                box = (width - fraction * width, 0, width, height)
            case "bottom":
                box = (0, height - fraction * height, width, height)
            case _:
                return
        self.pen.rectangle(box, fill=self.ink(Surface.OCCLUDER))


def _between(start: Point, end: Point, fraction: float) -> Point:
    return (1 - fraction) * start[0] + fraction * end[0], (1 - fraction) * start[1] + fraction * end[1]
