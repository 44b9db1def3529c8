from rgbir_jax.datasets.sysu_lists import read_permutations
from rgbir_jax.synthetic.sysu_files import random_permutations

COUNTS = {(1, 1): 3, (3, 1): 12, (6, 4): 1}


def test_written_permutations_are_read_with_their_counts(tmp_path):
    path = tmp_path / "rand_perm_cam.mat"
    path.write_bytes(random_permutations(COUNTS, seed=3))
    assert {key: rows.shape for key, rows in read_permutations(path).items()} == {
        key: (10, count) for key, count in COUNTS.items()
    }
