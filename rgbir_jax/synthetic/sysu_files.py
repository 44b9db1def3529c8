"""The content of rand_perm_cam.mat, which selects SYSU-MM01's gallery images."""

import io
from collections.abc import Mapping

import numpy as np
import scipy.io

from rgbir_jax.datasets.sysu_lists import TRIALS
from rgbir_jax.synthetic.seeds import Stream, generator

PERMUTATIONS_FILE = "rand_perm_cam.mat"


def random_permutations(counts: Mapping[tuple[int, int], int], seed: int) -> bytes:
    """Draws the content of a rand_perm_cam.mat that SYSU-MM01's official evaluation code can read.

    Args:
        counts: the number of images by (camera, person), both from 1.
        seed: the dataset's seed, not negative.
    """
    people = max(person for _, person in counts)
    cameras = np.empty((6, 1), object)
    for camera in range(1, 7):
        cell = np.empty((people, 1), object)
        for person in range(1, people + 1):
            count = counts.get((camera, person), 0)
            rng = generator(seed, Stream.PERMUTATION, camera, person)
            rows = [rng.permutation(count) + 1 for _ in range(TRIALS)]
            cell[person - 1, 0] = np.array(rows, np.uint16) if count else np.zeros((0, 0), np.uint16)
        cameras[camera - 1, 0] = cell
    file = io.BytesIO()
    scipy.io.savemat(file, {"rand_perm_cam": cameras})
    # The first 116 bytes are free text. SciPy writes the time there, which would differ between runs.
    return b"MATLAB 5.0 MAT-file".ljust(116) + file.getvalue()[116:]
