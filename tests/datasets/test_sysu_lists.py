import numpy as np
import pytest
import scipy.io

from rgbir_jax.datasets import sysu_lists
from rgbir_jax.errors import UserError

PEOPLE = 4


def write_permutations(path, permutations, **changed):
    cells = np.empty((6, 1), object)
    for camera in range(1, 7):
        cells[camera - 1, 0] = np.empty((PEOPLE, 1), object)
        for person in range(1, PEOPLE + 1):
            cells[camera - 1, 0][person - 1, 0] = permutations.get((camera, person), np.zeros((10, 0)))
    scipy.io.savemat(path, {"rand_perm_cam": cells} | changed)


def test_permutations_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    counts = {(1, 1): 3, (2, 1): 12, (3, 1): 1, (6, PEOPLE): 5}
    permutations = {key: np.array([rng.permutation(n) + 1 for _ in range(10)]) for key, n in counts.items()}
    write_permutations(tmp_path / "rand_perm_cam.mat", permutations)
    result = sysu_lists.read_permutations(tmp_path / "rand_perm_cam.mat")
    assert result.keys() == permutations.keys()
    for key, draws in permutations.items():
        np.testing.assert_array_equal(result[key], draws)


def test_permutations_of_one_image_are_read(tmp_path):
    write_permutations(tmp_path / "p.mat", {(4, 2): np.ones((10, 1))})
    assert sysu_lists.read_permutations(tmp_path / "p.mat")[4, 2].shape == (10, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"id": np.arange(3)}, "with the variable rand_perm_cam"),
        ({"rand_perm_cam": "text"}, "of numbers or cells of numbers"),
        ({"rand_perm_cam": {"a": 1}}, "of numbers or cells of numbers"),
        ({"rand_perm_cam": np.arange(6)}, "does not hold 10 permutations"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    scipy.io.savemat(tmp_path / "p.mat", content)
    with pytest.raises(ValueError, match=message):
        sysu_lists.read_permutations(tmp_path / "p.mat")


ONE_WRONG = np.array([[1, 2]] * 3 + [[1, 3]] + [[2, 1]] * 6)  # only in one of the trials
FRACTIONS = np.array([[1.2, 2.9]] * 10)


@pytest.mark.parametrize(
    "draws", [np.ones((3, 1)), np.full((10, 2), 2), np.zeros((10, 1)), ONE_WRONG, FRACTIONS, np.ones((10, 1, 1))]
)
def test_incomplete_permutations_are_refused(tmp_path, draws):
    write_permutations(tmp_path / "p.mat", {(4, 2): draws})
    with pytest.raises(ValueError, match="does not hold 10 permutations"):
        sysu_lists.read_permutations(tmp_path / "p.mat")


def test_missing_permutation_file(tmp_path):
    with pytest.raises(UserError, match=r"exp/rand_perm_cam\.mat"):
        sysu_lists.read_permutations(tmp_path / "p.mat")


def test_ids_from_text_and_matlab(tmp_path):
    (tmp_path / "test_id.txt").write_text("6,10,17\n")
    scipy.io.savemat(tmp_path / "test_id.mat", {"id": np.array([[6, 10, 17]], np.uint16)})
    for name in ("test_id.txt", "test_id.mat"):
        assert sysu_lists.read_ids(tmp_path / name).tolist() == [6, 10, 17]


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf6,10,17", "6\r\n10\r\n17\r\n".encode("utf-16"), b"6;10; 17;\r\n", b"6\t10 17"],
    ids=["byte order mark", "UTF-16", "semicolons", "white space"],
)
def test_ids_of_any_editor(tmp_path, content):
    (tmp_path / "test_id.txt").write_bytes(content)
    assert sysu_lists.read_ids(tmp_path / "test_id.txt").tolist() == [6, 10, 17]


def test_other_id_files_are_refused(tmp_path):
    (tmp_path / "test_id.txt").write_text("six")
    (tmp_path / "test_id.mat").write_text("6,10")
    with pytest.raises(ValueError, match="not a comma-separated list"):
        sysu_lists.read_ids(tmp_path / "test_id.txt")
    with pytest.raises(ValueError, match="not a MATLAB file"):
        sysu_lists.read_ids(tmp_path / "test_id.mat")
    with pytest.raises(UserError, match="exp/test_id"):
        sysu_lists.read_ids(tmp_path / "absent.txt")
