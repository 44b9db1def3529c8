"""Scores a run of train.py, or features of any other system; prints the paper's tables with runs beside them.

    python eval.py --workdir runs/quickstart
    python eval.py --features F.npz --rand_perm rand_perm_cam.mat --test_ids test_id.mat
    python eval.py --table 7 --runs runs

The first prints the table and writes `scores.json` and `report.html` into the run's folder. For the second, the .npz
file has `feature` float [images, size], `person_id` (or `pid`), `camera` (or `cam`) and `index`, the image's number
from 1 within person and camera. The third prints Table 6, 7 or 8 as Markdown, with every run that the first has scored.
"""

from absl import flags

from rgbir_jax import command_line

WORKDIR = flags.DEFINE_string("workdir", None, "A run of train.py to score and to report on.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "With --workdir: the dataset, if it is not where the run had it.")
FEATURES = flags.DEFINE_string("features", None, "Features to score, an .npz file.")
RAND_PERM = flags.DEFINE_string("rand_perm", None, "SYSU-MM01's rand_perm_cam.mat, which draws the galleries.")
TEST_IDS = flags.DEFINE_string("test_ids", None, "With --features: test identities, .mat or text; all if not given.")
PROTOCOL = flags.DEFINE_enum("protocol", None, ["official", "agw", "paper"], "Protocol; official if not given.")
TABLE = flags.DEFINE_enum("table", None, ["6", "7", "8"], "The paper's table to print.")
RUNS = flags.DEFINE_string("runs", None, "With --table: the folder of the runs; the paper's rows alone if not given.")
JSON = flags.DEFINE_string("json", None, "With --features or --table: file to write the same to, as JSON.")


def main() -> None:
    """Scores, or compares, and prints the table."""
    if sum(flag.value is not None for flag in (WORKDIR, FEATURES, TABLE)) != 1:
        raise ValueError(
            "give one of --workdir, a run's folder to score, --features, an .npz file to score, and --table, 6, 7 or 8."
        )
    if FEATURES.value is not None:
        from rgbir_jax.evaluation import feature_file

        protocol = PROTOCOL.value or "official"
        print(feature_file.score_feature_file(FEATURES.value, RAND_PERM.value, TEST_IDS.value, protocol, JSON.value))
    elif TABLE.value is not None:
        from rgbir_jax.evaluation import tables

        print(tables.table_with_runs(int(TABLE.value), RUNS.value, JSON.value))
    elif WORKDIR.value is not None:
        from rgbir_jax import run_report, scoring

        changes = {"data_dir": DATA_DIR.value, "rand_perm": RAND_PERM.value, "protocol": PROTOCOL.value}
        scored = scoring.score(WORKDIR.value, {name: value for name, value in changes.items() if value})
        print(scoring.tables(scored.scores))
        print(run_report.write(WORKDIR.value, scored))


if __name__ == "__main__":
    command_line.run(main)
