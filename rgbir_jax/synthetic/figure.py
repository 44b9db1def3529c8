"""The body: which surface is seen at each pixel."""

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
    """A person and what hides them, without light.

    Args:
        identity: who.
        pose: how they stand.
        height: of the picture in pixels.
        width: of the picture in pixels.

    Returns:
        The `Surface` at each pixel, and the number of the body part it belongs to, 0 for the background.
    """
    body = _Body(identity, pose, height, width)
    body.draw()
    packed = np.array(body.canvas)
    surface, part = packed & 15, packed >> 4
    x = (np.arange(width)[None, :] - body.left) / body.unit
    y = (np.arange(height)[:, None] - body.top) / body.unit
    for garment, main, second in (
        (identity.upper, Surface.UPPER, Surface.UPPER_SECOND),
        (identity.lower_garment, Surface.LOWER, Surface.LOWER_SECOND),
    ):
        if garment.pattern != "plain":
            shown = pattern(garment, x, y, body.shoulder if body.side else None)
            surface[(surface == main) & shown] = second
    return surface, part


class _Body:
    """Draws in body coordinates: x to the right of the spine and y down from the crown, in body heights.

    Arms and legs are numbered -1 and 1: left and right in the picture, or far and near where the view is from the side.
    """

    def __init__(self, identity: Identity, pose: Pose, height: int, width: int):
        self.who, self.pose = identity, pose
        self.canvas = Image.new("L", (width, height), int(Surface.BACKGROUND))  # 16 x part + surface
        self.pen = ImageDraw.Draw(self.canvas)
        self.part = 0
        self.unit = identity.height * pose.scale * height
        self.left = pose.x * width
        self.top = pose.y * height - self.unit
        self.side = pose.view in ("left", "right")
        self.facing = -1 if pose.view == "left" else 1
        # Which arm the bag hangs from: somebody's left is on the picture's right when they face the camera.
        self.bag_arm = identity.bag_side * (1 if pose.view in ("front", "left") else -1)
        slim = 0.72 if self.side else 1.0  # bodies are flatter than wide
        self.hip = 1 - identity.legs
        self.shoulder = 0.115 * identity.build**0.6 * slim
        self.waist = 0.09 * identity.build * slim
        self.wide = identity.build * slim
        self.stride = float(np.sin(2 * np.pi * pose.phase)) * pose.swing

    def draw(self) -> None:
        """From what is farthest to what is nearest, each a part of its own."""
        bag_first = self.side and self.bag_arm < 0
        if self.who.bag == "backpack":
            bag_first = self.pose.view != "back"
        steps = [
            *([self.bag] if bag_first else []),
            lambda: self.arm(-1),
            *([] if self.side else [lambda: self.arm(1)]),
            lambda: self.leg(-1),
            lambda: self.leg(1),
            self.skirt,
            self.hair_behind,
            self.torso,
            self.straps,
            self.head,
            *([lambda: self.arm(1)] if self.side else []),
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
        """A bent tube with round joints."""
        corners = [self.at(*point) for point in points]
        radius = thickness * self.unit / 2
        self.pen.line(corners, fill=self.ink(surface), width=max(1, round(2 * radius)))
        for x, y in corners:
            self.pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=self.ink(surface))

    def outline(self, points: Sequence[Point], surface: Surface) -> None:
        self.pen.polygon([self.at(*point) for point in points], fill=self.ink(surface))

    def oval(self, x: float, y: float, wide: float, high: float, surface: Surface) -> None:
        self.pen.ellipse((*self.at(x - wide, y - high), *self.at(x + wide, y + high)), fill=self.ink(surface))

    def leg(self, which: int) -> None:
        build, length, stride = self.who.build, self.who.legs, -which * self.stride
        thick = 0.082 * build
        if self.side:
            bend = max(0.0, -stride) * 0.09
            hip, knee = (0.0, self.hip), (0.1 * stride * self.facing, self.hip + 0.48 * length)
            ankle = ((0.2 * stride - bend) * self.facing, 0.965 - 0.3 * bend)
        else:
            x, lift = which * 0.048 * build, 0.05 * max(0.0, stride)
            hip, knee = (x, self.hip), (1.15 * x, self.hip + 0.48 * length - 0.4 * lift)
            ankle = (1.2 * x, 0.965 - lift)
        if self.who.lower == "trousers":
            self.limb([hip, knee, ankle], 0.75 * thick, Surface.LOWER)
            self.limb([hip, knee], thick, Surface.LOWER)
        else:
            self.limb([hip, knee, ankle], 0.055 * build, Surface.SKIN)
        if self.who.lower == "shorts":
            self.limb([hip, _between(hip, knee, 0.85)], 1.05 * thick, Surface.LOWER)
        toe = 0.045 * self.facing if self.side else 0.0
        self.limb([ankle, (ankle[0] + toe, ankle[1] + 0.012)], 0.046, Surface.SHOES)

    def skirt(self) -> None:
        if self.who.lower == "skirt":
            waist, bottom = 0.085 * self.wide, self.hip + self.who.skirt
            hem = 0.115 * self.wide + 0.03 * abs(self.stride) + 0.02
            top = self.hip - 0.06
            self.outline([(-waist, top), (waist, top), (hem, bottom), (-hem, bottom)], Surface.LOWER)

    def torso(self) -> None:
        hips = 0.092 * self.wide
        self.outline(
            [(-hips, self.hip - 0.05), (hips, self.hip - 0.05), (hips, self.hip + 0.04), (-hips, self.hip + 0.04)],
            Surface.LOWER,
        )
        self.limb([(0.0, 0.1), (0.0, 0.16)], 0.048 * self.who.build**0.5, Surface.SKIN)
        hem, bottom = (0.098 + 0.1 * self.who.hem) * self.wide, self.hip + 0.02 + self.who.hem
        round_off = 0.03
        self.limb(
            [(round_off - self.shoulder, 0.188), (self.shoulder - round_off, 0.188)], 2 * round_off, Surface.UPPER
        )
        self.outline(
            [(-0.45 * self.shoulder, 0.146), (0.45 * self.shoulder, 0.146), (self.shoulder, 0.188), (self.waist, 0.36),
             (hem, bottom), (-hem, bottom), (-self.waist, 0.36), (-self.shoulder, 0.188)],
            Surface.UPPER,
        )  # fmt: skip

    def hand(self, which: int) -> Point:
        if self.side:
            return (0.19 * which * self.stride + 0.035) * self.facing, 0.455
        return which * (max(self.shoulder, self.waist) + 0.026), 0.47 - 0.03 * max(0.0, which * self.stride)

    def arm(self, which: int) -> None:
        if self.side:
            shoulder, elbow = (0.0, 0.19), (0.1 * which * self.stride * self.facing, 0.33)
        else:
            shoulder = (which * (self.shoulder - 0.014), 0.19)
            elbow = (which * (max(self.shoulder, self.waist) + 0.018), 0.335)
        hand, thick = self.hand(which), 0.056 * self.who.build**0.5
        self.limb([shoulder, elbow, hand], 0.75 * thick, Surface.SKIN)
        if self.who.sleeves == "long":
            self.limb([shoulder, elbow, _between(elbow, hand, 0.88)], thick, Surface.UPPER)
        elif self.who.sleeves == "short":
            self.limb([shoulder, _between(shoulder, elbow, 0.65)], thick, Surface.UPPER)

    @property
    def skull(self) -> tuple[float, float, float]:
        """Half its width, half its height, and its middle's distance from the crown."""
        return 0.046 * self.who.head, 0.062 * self.who.head, 0.066

    def hair_behind(self) -> None:
        """Long hair falls behind the shoulders of somebody who faces the camera."""
        wide, high, y = self.skull
        if self.who.hair == "long" and self.pose.view == "front":
            self.oval(0.0, y + 0.5 * high, 1.45 * wide, 1.5 * high, Surface.HAIR)

    def head(self) -> None:
        wide, high, y = self.skull
        hair, view = self.who.hair, self.pose.view
        behind = -self.facing if self.side else 0  # the way of the nape
        if hair == "full":
            self.oval(0.3 * wide * behind, y - 0.35 * high, 1.4 * wide, 1.1 * high, Surface.HAIR)
        if hair == "long" and self.side:
            self.oval(0.75 * wide * behind, y + 0.6 * high, 0.85 * wide, 1.5 * high, Surface.HAIR)
        nose = 0.012 * self.facing if self.side else 0.0
        self.oval(nose, y, wide, high, Surface.SKIN)
        if hair != "bald":
            self.hair(behind)
        if self.side:
            self.oval(nose + 0.95 * wide * self.facing, y + 0.2 * high, 0.18 * wide, 0.13 * high, Surface.SKIN)
        if view != "back":
            for x in (0.55 * wide * self.facing + nose,) if self.side else (-0.42 * wide, 0.42 * wide):
                self.oval(x, y + 0.12 * high, 0.15 * wide, 0.09 * high, Surface.HAIR)  # eyes
        self.hat()

    def hair(self, behind: int) -> None:
        wide, high, y = self.skull
        view, hair = self.pose.view, self.who.hair
        if view == "back":
            self.oval(0.0, y - 0.05 * high, 1.05 * wide, high, Surface.HAIR)
            if hair == "long":
                self.oval(0.0, y + 0.5 * high, 1.35 * wide, 1.5 * high, Surface.HAIR)
        else:
            self.oval(0.35 * wide * behind, y - 0.58 * high, 1.08 * wide, 0.52 * high, Surface.HAIR)
            if self.side:
                self.oval(0.6 * wide * behind, y - 0.1 * high, 0.6 * wide, 0.8 * high, Surface.HAIR)
        if hair == "ponytail":
            x = 1.25 * wide * behind if self.side else 1.1 * wide * (view == "front")
            self.limb([(x, y - 0.3 * high), (1.3 * x, y + 1.5 * high)], 0.03, Surface.HAIR)
        if hair == "bun":
            self.oval(wide * behind, y - 1.05 * high, 0.55 * wide, 0.45 * high, Surface.HAIR)

    def hat(self) -> None:
        wide, high, y = self.skull
        top = y - 0.62 * high
        if self.who.hat == "none":
            return
        self.oval(0.0, top, 1.14 * wide, 0.6 * high, Surface.HAT)
        edge = top + 0.38 * high
        if self.who.hat == "cap" and self.pose.view != "back":
            ends = (0.0, 2.1 * wide * self.facing) if self.side else (-0.8 * wide, 0.8 * wide)
            self.limb([(ends[0], edge), (ends[1], edge + 0.05 * high)], 0.024, Surface.HAT)
        if self.who.hat == "brim":
            self.limb([(-2 * wide, edge), (2 * wide, edge)], 0.022, Surface.HAT)
        if self.who.hat == "beanie":
            self.oval(0.0, top - 0.75 * high, 0.4 * wide, 0.3 * high, Surface.HAT)

    def straps(self) -> None:
        """What is seen of a backpack on the other side of the body."""
        if self.who.bag == "backpack" and self.pose.view == "front":
            for which in (-1, 1):
                x = which * 0.62 * self.shoulder
                self.limb([(x, 0.165), (x, 0.25), (1.25 * x, 0.35)], 0.022, Surface.BAG)
        elif self.who.bag == "backpack" and self.side:
            front = 0.55 * self.shoulder * self.facing
            self.limb([(-front, 0.17), (0.5 * front, 0.165), (front, 0.25), (-front, 0.37)], 0.02, Surface.BAG)

    def bag(self) -> None:
        size = self.who.bag_size
        match self.who.bag:
            case "backpack":
                wide, high = 0.143 * size, 0.12 * size
                if self.side:
                    wide *= 0.7
                x = -self.facing * (0.9 * self.shoulder + 0.2 * wide) if self.side else 0.0
                self.limb([(x, 0.21 + wide / 2 - 0.03), (x, 0.25 + high)], wide, Surface.BAG)
            case "shoulder":
                x = 0.01 * self.facing if self.side else self.bag_arm * 0.115 * self.who.build
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
        """Something plain before the person."""
        width, height = self.canvas.size
        part = self.pose.hidden
        match self.pose.occluder:
            case "left":
                box = (0, 0, part * width, height)
            case "right":
                box = (width - part * width, 0, width, height)
            case "bottom":
                box = (0, height - part * height, width, height)
            case _:
                return
        self.pen.rectangle(box, fill=self.ink(Surface.OCCLUDER))


def _between(start: Point, end: Point, part: float) -> Point:
    return (1 - part) * start[0] + part * end[0], (1 - part) * start[1] + part * end[1]
