"""One picture of a dataset, and the identity and pose that it shows."""

import os
from typing import NamedTuple

from rgbir_jax.synthetic.camera import Camera
from rgbir_jax.synthetic.identity import Identity
from rgbir_jax.synthetic.pose import Pose
from rgbir_jax.synthetic.seeds import Stream, generator

JUNK = "-1"  # first characters of the names of Market-1501's unusable images


class Shot(NamedTuple):
    """One picture to draw.

    Attributes:
        path: the file's path, relative to the dataset's root.
        person: the person's number, from which the identity is drawn.
        camera: the camera that takes the picture.
        number: the picture's number, from 1 for each person and camera.
    """

    path: str
    person: int
    camera: Camera
    number: int

    @property
    def is_junk(self) -> bool:
        """Tells whether this is one of Market-1501's unusable images."""
        return os.path.basename(self.path).startswith(JUNK)


def identity_of(person: int, seed: int) -> Identity:
    """Returns the identity of a person in the dataset with the given seed."""
    return Identity.random(generator(seed, Stream.IDENTITY, person))


def pose_of(shot: Shot, seed: int) -> tuple[Pose, int]:
    """Returns the pose in a picture, and the seed of its grain, in the dataset with the given seed."""
    rng = generator(seed, Stream.POSE, shot.person, shot.camera.number, shot.number)
    return Pose.random(rng), int(rng.integers(2**31))
