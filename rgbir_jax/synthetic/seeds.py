"""Independent random streams derived from one seed."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What the random numbers are used for. The values must not change, or a seed gives other pictures."""

    IDENTITY = 0
    POSE = 1
    PLAN = 2
    PERMUTATION = 3
    FOLD = 4


def generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """Returns the generator of a stream.

    Args:
        seed: the dataset's seed, not negative.
        stream: the purpose of the random numbers.
        key: further numbers, such as the person and the camera; each combination gets its own stream.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, *key)))
