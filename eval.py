"""Scores a run of train.py, or features that any other system has written to a file.

    python eval.py --workdir runs/quickstart
    python eval.py --features F.npz --rand_perm rand_perm_cam.mat --test_ids test_id.mat

The first prints the table and writes `scores.json` and `report.html` into the run's folder. For the second, the .npz
file has `feature` float [images, size], `person_id` (or `pid`), `camera` (or `cam`) and `index`, the image's number
from 1 within person and camera.
"""

from absl import flags

from rgbir_jax import command_line

WORKDIR = flags.DEFINE_string("workdir", None, "A run of train.py to score and to report on.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "With --workdir: the dataset, if it is not where the run had it.")
FEATURES = flags.DEFINE_string("features", None, "Features to score, an .npz file.")
RAND_PERM = flags.DEFINE_string("rand_perm", None, "SYSU-MM01's rand_perm_cam.mat, which draws the galleries.")
TEST_IDS = flags.DEFINE_string("test_ids", None, "With --features: test identities, .mat or text; all if not given.")
PROTOCOL = flags.DEFINE_enum("protocol", None, ["official", "agw", "paper"], "Protocol; official if not given.")
JSON = flags.DEFINE_string("json", None, "With --features: file to write the scores to.")


def main() -> None:
    """Scores and prints the table."""
    if (WORKDIR.value is None) == (FEATURES.value is None):
        raise ValueError("nothing to score: give either --workdir, a run's folder, or --features, an .npz file.")
    if FEATURES.value is not None:
        from rgbir_jax.evaluation import feature_file

        protocol = PROTOCOL.value or "official"
        print(feature_file.score_feature_file(FEATURES.value, RAND_PERM.value, TEST_IDS.value, protocol, JSON.value))
        return
    from rgbir_jax import run_report, scoring

    changes = {"data_dir": DATA_DIR.value, "rand_perm": RAND_PERM.value, "protocol": PROTOCOL.value}
    scored = scoring.score(WORKDIR.value, {name: value for name, value in changes.items() if value})
    print(scoring.tables(scored.scores))
    print(run_report.write(WORKDIR.value, scored))


if __name__ == "__main__":
    command_line.run(main)
