"""The body: which surface is seen at each pixel."""

from enum import IntEnum

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from rgbir_jax.data.drawing.identity import Garment, Identity, Material
from rgbir_jax.data.drawing.pose import Pose


class Surface(IntEnum):
    """What can be seen; 0 is the background."""

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


def materials(identity: Identity) -> dict[Surface, Material]:
    """The surfaces of a person."""
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


def figure(identity: Identity, pose: Pose, height: int, width: int) -> UInt8[np.ndarray, "height width"]:
    """The `Surface` at each pixel of a picture of this size."""
    canvas = Image.new("L", (width, height), int(Surface.BACKGROUND))
    body = _Body(identity, pose, canvas)
    body.draw()
    surface = np.array(canvas)
    for garment, main, second in (
        (identity.upper, Surface.UPPER, Surface.UPPER_SECOND),
        (identity.lower_garment, Surface.LOWER, Surface.LOWER_SECOND),
    ):
        if garment.pattern != "plain":
            surface[(surface == main) & body.pattern(garment)] = second
    return surface


class _Body:
    """Draws in body coordinates: x to the right of the spine and y down from the crown, in body heights."""

    def __init__(self, identity: Identity, pose: Pose, canvas: Image.Image):
        self.who, self.pose = identity, pose
        self.pen = ImageDraw.Draw(canvas)
        self.shape = canvas.size[::-1]
        self.unit = identity.height * pose.scale * canvas.height
        self.left = pose.x * canvas.width
        self.top = pose.y * canvas.height - self.unit
        self.side = pose.view in ("left", "right")
        self.facing = -1 if pose.view == "left" else 1
        self.hip = 1 - identity.legs
        self.slim = 0.72 if self.side else 1.0  # bodies are flatter than wide

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.left + x * self.unit, self.top + y * self.unit

    def limb(self, points: list[tuple[float, float]], thickness: float, surface: Surface) -> None:
        """A bent tube with round joints."""
        corners = [self.at(*point) for point in points]
        radius = thickness * self.unit / 2
        self.pen.line(corners, fill=int(surface), width=max(1, round(2 * radius)))
        for x, y in corners:
            self.pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(surface))

    def shape_of(self, points: list[tuple[float, float]], surface: Surface) -> None:
        self.pen.polygon([self.at(*point) for point in points], fill=int(surface))

    def oval(self, x: float, y: float, wide: float, high: float, surface: Surface) -> None:
        (left, top), (right, bottom) = self.at(x - wide, y - high), self.at(x + wide, y + high)
        self.pen.ellipse((left, top, right, bottom), fill=int(surface))

    def draw(self) -> None:
        """From the far side to the near one."""
        stride = np.sin(2 * np.pi * self.pose.phase) * self.pose.swing
        bag_behind = self.who.bag == "backpack" and self.pose.view == "front"
        if self.who.bag == "backpack" and (self.side or bag_behind):
            self.bag()
        self.arm(-1, -stride)
        self.leg(-1, stride)
        self.leg(1, -stride)
        if self.who.lower == "skirt":
            self.skirt(stride)
        self.torso()
        self.head()
        self.arm(1, stride)
        if self.who.bag in ("shoulder", "handbag") or (self.who.bag == "backpack" and self.pose.view == "back"):
            self.bag()

    def leg(self, which: int, stride: float) -> None:
        build, length = self.who.build, self.who.legs
        thick = 0.082 * build
        if self.side:
            hip, knee = (0.0, self.hip), (0.1 * stride * self.facing, self.hip + 0.48 * length)
            bend = max(0.0, -stride) * 0.09
            ankle = (0.2 * stride * self.facing - bend * self.facing, 1 - 0.035 - 0.3 * bend)
        else:
            x = which * 0.048 * build
            lift = 0.05 * max(0.0, stride)
            hip, knee = (x, self.hip), (1.15 * x, self.hip + 0.48 * length - 0.4 * lift)
            ankle = (1.2 * x, 1 - 0.035 - lift)
        bare = self.who.lower != "trousers"
        self.limb([hip, knee, ankle], 0.055 * build if bare else 0.75 * thick, Surface.SKIN if bare else Surface.LOWER)
        if not bare:
            self.limb([hip, knee], thick, Surface.LOWER)
        if self.who.lower == "shorts":
            end = tuple(0.15 * h + 0.85 * k for h, k in zip(hip, knee, strict=True))
            self.limb([hip, end], 1.05 * thick, Surface.LOWER)
        toe = 0.045 * self.facing if self.side else 0.0
        self.limb([ankle, (ankle[0] + toe, ankle[1] + 0.012)], 0.046, Surface.SHOES)

    def skirt(self, stride: float) -> None:
        waist, hem = (
            0.085 * self.who.build * self.slim,
            (0.115 * self.who.build + 0.03 * abs(stride)) * self.slim + 0.02,
        )
        bottom = self.hip + self.who.skirt
        self.shape_of(
            [(-waist, self.hip - 0.06), (waist, self.hip - 0.06), (hem, bottom), (-hem, bottom)], Surface.LOWER
        )

    def torso(self) -> None:
        build = self.who.build * self.slim
        shoulder, waist, hem = 0.118 * build, 0.09 * build, (0.098 + 0.1 * self.who.hem) * build
        bottom = self.hip + 0.02 + self.who.hem
        self.shape_of(
            [(-0.095 * build, self.hip - 0.05), (0.095 * build, self.hip - 0.05),
             (0.09 * build, self.hip + 0.05), (-0.09 * build, self.hip + 0.05)],
            Surface.LOWER,
        )  # fmt: skip
        self.limb([(0, 0.1), (0, 0.16)], 0.045 * build, Surface.SKIN)
        self.shape_of(
            [(-0.6 * shoulder, 0.148), (0.6 * shoulder, 0.148), (shoulder, 0.185), (waist, 0.36),
             (hem, bottom), (-hem, bottom), (-waist, 0.36), (-shoulder, 0.185)],
            Surface.UPPER,
        )  # fmt: skip

    def arm(self, which: int, stride: float) -> None:
        build = self.who.build
        if self.side:
            shoulder = (0.0, 0.185)
            elbow = (0.1 * stride * self.facing, 0.33)
            hand = (elbow[0] + (0.09 * stride + 0.035) * self.facing, 0.455)
        else:
            shoulder = (which * 0.108 * build, 0.185)
            elbow = (which * (0.128 * build + 0.015), 0.335)
            hand = (which * (0.135 * build + 0.012), 0.47 - 0.03 * max(0.0, stride))
        self.limb([shoulder, elbow, hand], 0.042 * build**0.5, Surface.SKIN)
        cloth = 0.056 * build**0.5
        if self.who.sleeves == "long":
            self.limb(
                [shoulder, elbow, tuple(0.12 * e + 0.88 * h for e, h in zip(elbow, hand, strict=True))],
                cloth,
                Surface.UPPER,
            )
        elif self.who.sleeves == "short":
            self.limb(
                [shoulder, tuple(0.35 * s + 0.65 * e for s, e in zip(shoulder, elbow, strict=True))],
                cloth,
                Surface.UPPER,
            )

    def head(self) -> None:
        size = self.who.head
        wide, high, y = 0.046 * size, 0.062 * size, 0.066
        nose = 0.012 * self.facing if self.side else 0.0
        behind = -self.facing if self.side else 0
        hair, view = self.who.hair, self.pose.view
        if hair == "long":
            self.oval(0.4 * wide * behind, y + 0.6 * high, 1.3 * wide, 1.5 * high, Surface.HAIR)
        if hair == "full":
            self.oval(0, y - 0.1 * high, 1.4 * wide, 1.25 * high, Surface.HAIR)
        self.oval(nose, y, wide, high, Surface.SKIN)
        if hair != "bald":
            if view == "back":
                self.oval(0, y - 0.05 * high, 1.05 * wide, high, Surface.HAIR)
                if hair == "long":
                    self.oval(0, y + 0.6 * high, 1.25 * wide, 1.45 * high, Surface.HAIR)
            else:
                self.oval(0.35 * wide * behind, y - 0.5 * high, 1.08 * wide, 0.62 * high, Surface.HAIR)
                if self.side:
                    self.oval(0.6 * wide * behind, y - 0.1 * high, 0.6 * wide, 0.8 * high, Surface.HAIR)
            if hair == "ponytail":
                x = 1.25 * wide * behind if self.side else 0.9 * wide * (view == "front")
                self.limb([(x, y - 0.3 * high), (1.3 * x, y + 1.4 * high)], 0.03, Surface.HAIR)
            if hair == "bun":
                self.oval(wide * behind, y - 1.05 * high, 0.55 * wide, 0.45 * high, Surface.HAIR)
        self.hat(wide, high, y)

    def hat(self, wide: float, high: float, y: float) -> None:
        top = y - 0.55 * high
        if self.who.hat == "none":
            return
        self.oval(0, top, 1.12 * wide, 0.62 * high, Surface.HAT)
        if self.who.hat == "cap" and self.pose.view != "back":
            reach = 2.1 * wide * self.facing if self.side else 0.0
            self.limb([(0, top + 0.35 * high), (reach, top + 0.4 * high)], 0.022, Surface.HAT)
        if self.who.hat == "brim":
            self.limb([(-2 * wide, top + 0.35 * high), (2 * wide, top + 0.35 * high)], 0.022, Surface.HAT)
        if self.who.hat == "beanie":
            self.oval(0, top - 0.75 * high, 0.4 * wide, 0.3 * high, Surface.HAT)

    def bag(self) -> None:
        size, build = self.who.bag_size, self.who.build
        # A bag on somebody's left is on the picture's right when they face the camera.
        side = self.who.bag_side * (1 if self.pose.view in ("front", "right") else -1)
        if self.who.bag == "backpack":
            wide, high = 0.075 * size, 0.12 * size
            x = -self.facing * (0.085 * build * self.slim + 0.3 * wide) if self.side else 0.0
            self.limb(
                [(x, 0.3 - high + 0.05), (x, 0.3 + high - 0.05)], 1.9 * wide * (0.7 if self.side else 1), Surface.BAG
            )
        elif self.who.bag == "shoulder":
            x = 0.0 if self.side else side * 0.11 * build
            self.limb([(-0.7 * x, 0.17), (x, 0.46)], 0.016, Surface.BAG)
            w, h = 0.06 * size, 0.05 * size
            self.shape_of(
                [(x - w, 0.46), (x + w, 0.46), (x + 1.1 * w, 0.46 + 2 * h), (x - 1.1 * w, 0.46 + 2 * h)], Surface.BAG
            )
        else:
            x = 0.05 * self.facing if self.side else side * 0.15 * build
            w, h = 0.05 * size, 0.06 * size
            self.limb([(x, 0.46), (x, 0.52)], 0.014, Surface.BAG)
            self.shape_of([(x - w, 0.52), (x + w, 0.52), (x + w, 0.52 + 1.6 * h), (x - w, 0.52 + 1.6 * h)], Surface.BAG)

    def pattern(self, garment: Garment) -> np.ndarray:
        """Where a garment shows its second material, bool [height, width]; it moves with the body."""
        height, width = self.shape
        x = (np.arange(width)[None, :] - self.left) / self.unit
        y = (np.arange(height)[:, None] - self.top) / self.unit
        across = np.mod(y, garment.period) < garment.period / 2
        down = np.mod(x + 0.25 * garment.period, garment.period) < garment.period / 2
        match garment.pattern:
            case "across":
                return across & (x == x)
            case "down":
                return down & (y == y)
            case "checks":
                return across ^ down
            case "print":
                return self._print(garment.figure, x / (self.who.build * self.slim), y - 0.29)
            case pattern:
                raise ValueError(f'pattern "{pattern}" is unknown.')

    def _print(self, kind: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        match kind:
            case "disc":
                return x**2 + y**2 < 0.062**2
            case "band":
                return (np.abs(y) < 0.045) & (x == x)
            case _:
                return (y > -0.06) & (y < 0.07) & (np.abs(x) < 0.6 * (y + 0.06))
