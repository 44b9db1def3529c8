"""The files that come with SYSU-MM01: lists of identities, and the permutations that draw its galleries."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int

from rgbir_jax.datasets.files import is_number, read_words
from rgbir_jax.datasets.matlab import read_variable
from rgbir_jax.errors import MissingFileError, UserError

TRIALS = 10
SEPARATORS = r"\s,;"  # of a list of identities
PERMUTATIONS_FROM = (
    "it comes with the SYSU-MM01 release and its official evaluation code as exp/rand_perm_cam.mat "
    "(--config.rand_perm names it; eval.py: --rand_perm); the protocol agw (--config.protocol; eval.py: --protocol) "
    "needs none"
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
        raise MissingFileError(f"{path} is not there; {PERMUTATIONS_FROM}.")
    cameras = read_variable(path, "rand_perm_cam").ravel()
    try:
        entries = {
            (camera, person): np.atleast_2d(entry)
            for camera, cell in enumerate(cameras, start=1)
            for person, entry in enumerate(cell.ravel(), start=1)
            if entry.size
        }
        complete = all(
            rows.ndim == 2 and (np.sort(rows, axis=1) == np.arange(rows.shape[1]) + 1).all()
            for rows in entries.values()
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not laid out as rand_perm_cam.mat: cameras of persons of permutations.") from error
    short = [rows for rows in entries.values() if len(rows) < TRIALS]
    if short or not complete or not entries:
        raise UserError(f"{path} does not hold {TRIALS} permutations for each camera and person.")
    return {key: rows.astype(np.int64) for key, rows in entries.items()}


def read_ids(path: str | Path) -> Int[np.ndarray, "n"]:
    """Reads a list of identities: the variable `id` of a .mat file, or a text file, separated by commas or otherwise.

    Raises:
        UserError: if there is no such file, or if it holds something else.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} is not there; SYSU-MM01 has its test identities in exp/test_id.mat or .txt.")
    is_matlab = Path(path).suffix == ".mat"
    words = map(str, read_variable(path, "id").ravel()) if is_matlab else read_words(path, SEPARATORS)
    words = [word.removesuffix(".0") if is_matlab else word for word in words]  # MATLAB's numbers are often floats
    if not all(map(is_number, words)):
        raise UserError(f"{path} is not a comma-separated list of identities.")
    return np.array(words, np.int64)
