"""The files that come with SYSU-MM01: lists of identities, and the permutations that draw its galleries."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.io
from jaxtyping import Int
from scipy.io.matlab import MatReadError

from rgbir_jax.datasets.files import read_words
from rgbir_jax.errors import UserError

TRIALS = 10
SEPARATORS = r"\s,;"  # of a list of identities
PERMUTATIONS_FROM = (
    "it comes with the SYSU-MM01 release and its official evaluation code as exp/rand_perm_cam.mat "
    "(--config.rand_perm names it; eval.py: --rand_perm)"
)

# (camera, person_id) -> int [trials, images]: for each trial a permutation of the image numbers 1..images.
Permutations = Mapping[tuple[int, int], np.ndarray]


def read_permutations(path: str | Path) -> dict[tuple[int, int], np.ndarray]:
    """Reads rand_perm_cam.mat: a cell of cameras, each a cell of persons, each int [trials, images].

    Returns:
        (camera, person_id), both from 1, -> int64 [trials, images]; persons whom a camera did not see are left out.

    Raises:
        UserError: if there is no such file, or if it holds something else.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} is not there; {PERMUTATIONS_FROM}.")
    cameras = _read_mat(path, "rand_perm_cam").ravel()
    try:
        entries = {
            (camera, person): np.atleast_2d(entry).astype(np.int64)
            for camera, cell in enumerate(cameras, start=1)
            for person, entry in enumerate(cell.ravel(), start=1)
            if entry.size
        }
        complete = all(
            np.array_equal(np.sort(rows, axis=1)[-1], np.arange(rows.shape[1]) + 1) for rows in entries.values()
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not laid out as rand_perm_cam.mat: cameras of persons of permutations.") from error
    short = [rows for rows in entries.values() if len(rows) < TRIALS]
    if short or not complete or not entries:
        raise UserError(f"{path} does not hold {TRIALS} permutations for each camera and person.")
    return entries


def read_ids(path: str | Path) -> Int[np.ndarray, "n"]:
    """Reads a list of identities: the variable `id` of a .mat file, or a text file, separated by commas or otherwise.

    Raises:
        UserError: if there is no such file, or if it holds something else.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} is not there; SYSU-MM01 has its test identities in exp/test_id.mat or .txt.")
    if Path(path).suffix == ".mat":
        return _read_mat(path, "id").ravel().astype(np.int64)
    try:
        return np.array([int(word) for word in read_words(path, SEPARATORS)], np.int64)
    except ValueError as error:
        raise UserError(f"{path} is not a comma-separated list of identities.") from error


def _read_mat(path: str | Path, name: str) -> np.ndarray:
    try:
        return scipy.io.loadmat(path, variable_names=[name])[name]
    except (OSError, ValueError, KeyError, NotImplementedError, TypeError, MatReadError) as error:
        raise UserError(f"{path} is not a MATLAB file (version 5) with the variable {name}.") from error
