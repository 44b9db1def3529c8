from pathlib import Path

import numpy as np
import pytest
import scipy.io

from rgbir_jax.synthetic.sysu_files import random_permutations, read_counts, read_ids

COUNTS = {(1, 1): 3, (3, 1): 12, (6, 4): 1}


def write_mat(path: Path, entries: list[list[list[int]]]) -> Path:
    """Writes a rand_perm_cam.mat of one camera with the given permutations of each person."""
    cell = np.empty((len(entries), 1), object)
    for person, rows in enumerate(entries):
        cell[person, 0] = np.array(rows, np.uint16)
    cameras = np.empty((1, 1), object)
    cameras[0, 0] = cell
    scipy.io.savemat(path, {"rand_perm_cam": cameras})
    return path


def test_counts_of_written_permutations_are_read(tmp_path):
    path = tmp_path / "rand_perm_cam.mat"
    path.write_bytes(random_permutations(COUNTS, seed=3))
    assert read_counts(path) == COUNTS


@pytest.mark.parametrize("entries", [[[[1, 2]] * 9], [[[1, 3]] * 10], [[]]], ids=["nine", "gap", "none"])
def test_bad_permutations_are_refused(entries, tmp_path):
    with pytest.raises(ValueError, match="does not hold 10 permutations"):
        read_counts(write_mat(tmp_path / "p.mat", entries))


def test_bad_files_are_refused(tmp_path):
    (tmp_path / "p.mat").write_bytes(b"not a MATLAB file")
    with pytest.raises(ValueError, match=r"p.mat is not a MATLAB file \(version 5\) with the variable rand_perm_cam"):
        read_counts(tmp_path / "p.mat")
    scipy.io.savemat(tmp_path / "p.mat", {"rand_perm_cam": np.array(["one", "two"], object)})
    with pytest.raises(ValueError, match=r"p.mat does not have the structure of rand_perm_cam.mat"):
        read_counts(tmp_path / "p.mat")
    with pytest.raises(FileNotFoundError, match=r"absent.mat does not exist; SYSU-MM01 contains it"):
        read_counts(tmp_path / "absent.mat")
    (tmp_path / "ids.txt").write_text("1,two")
    with pytest.raises(ValueError, match=r"ids.txt is not a comma-separated list of identities"):
        read_ids(tmp_path / "ids.txt")
    scipy.io.savemat(tmp_path / "ids.mat", {"other": [1]})
    with pytest.raises(ValueError, match="with the variable id"):
        read_ids(tmp_path / "ids.mat")


def test_ids_are_read_from_both_formats(tmp_path):
    (tmp_path / "ids.txt").write_text("6,10, 17\n")
    scipy.io.savemat(tmp_path / "ids.mat", {"id": np.array([[6, 10, 17]], np.uint16)})
    assert read_ids(tmp_path / "ids.txt") == read_ids(tmp_path / "ids.mat") == [6, 10, 17]
