"""The files that come with SYSU-MM01: lists of identities, and rand_perm_cam.mat, which selects gallery images."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError

from rgbir_jax.synthetic.seeds import Stream, generator

PERMUTATIONS_FILE = "rand_perm_cam.mat"
_TRIALS = 10  # permutations per camera and person


def read_counts(path: str | Path) -> dict[tuple[int, int], int]:
    """Reads the numbers of images from rand_perm_cam.mat.

    Returns:
        The number of images by (camera, person), both from 1, without persons that a camera does not see.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file does not hold 10 permutations of 1..images per camera and person.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist; SYSU-MM01 contains it as exp/{PERMUTATIONS_FILE}.")
    cameras = _read_mat(path, "rand_perm_cam").ravel()
    try:
        permutations = {
            (camera, person): np.atleast_2d(entry).astype(np.int64)
            for camera, cell in enumerate(cameras, start=1)
            for person, entry in enumerate(cell.ravel(), start=1)
            if entry.size
        }
        complete = all(
            len(rows) >= _TRIALS and np.array_equal(np.sort(rows, axis=1)[-1], np.arange(rows.shape[1]) + 1)
            for rows in permutations.values()
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} does not have the structure of {PERMUTATIONS_FILE}.") from error
    if not permutations or not complete:
        raise ValueError(f"{path} does not hold {_TRIALS} permutations for each camera and person.")
    return {key: rows.shape[1] for key, rows in permutations.items()}


def read_ids(path: Path) -> list[int]:
    """Reads a list of identities: the variable `id` of a .mat file, or a comma-separated text file.

    Raises:
        ValueError: the file holds something else.
    """
    if path.suffix == ".mat":
        return _read_mat(path, "id").ravel().astype(np.int64).tolist()
    try:
        return [int(word) for word in path.read_text().replace(",", " ").split()]
    except ValueError as error:
        raise ValueError(f"{path} is not a comma-separated list of identities.") from error


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
            rows = [rng.permutation(count) + 1 for _ in range(_TRIALS)]
            cell[person - 1, 0] = np.array(rows, np.uint16) if count else np.zeros((0, 0), np.uint16)
        cameras[camera - 1, 0] = cell
    file = io.BytesIO()
    scipy.io.savemat(file, {"rand_perm_cam": cameras})
    # The first 116 bytes are free text. SciPy writes the time there, which would differ between runs.
    return b"MATLAB 5.0 MAT-file".ljust(116) + file.getvalue()[116:]


def _read_mat(path: str | Path, name: str) -> np.ndarray:
    try:
        return scipy.io.loadmat(path, variable_names=[name])[name]
    except (ValueError, KeyError, NotImplementedError, TypeError, MatReadError) as error:
        raise ValueError(f"{path} is not a MATLAB file (version 5) with the variable {name}.") from error
