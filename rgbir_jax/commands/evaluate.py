"""Scores a run of train.py, or features of any other system; prints the paper's tables with runs.

    python eval.py --workdir runs/quickstart
    python eval.py --features F.npz --rand_perm rand_perm_cam.mat --test_ids test_id.mat
    python eval.py --table 7 --runs runs

The first prints the table and writes `scores.json` and `report.html` into the run's folder. For the second, the .npz
file has `feature` float [images, size], `person_id` (or `pid`), `camera` (or `cam`) and `index`, the image's number
from 1 within person and camera. The third prints Table 6, 7 or 8 as Markdown, with every run that the first has scored.
"""

from absl import flags

from rgbir_jax.commands.flags import run
from rgbir_jax.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", None, "A run of train.py to score and to report on.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "With --workdir: the dataset, if it is not where the run had it.")
FEATURES_OUT = flags.DEFINE_string("features_out", None, "With --workdir: an .npz file to write the features to.")
FEATURES = flags.DEFINE_string("features", None, "Features to score, an .npz file.")
RAND_PERM = flags.DEFINE_string("rand_perm", None, "SYSU-MM01's rand_perm_cam.mat, which draws the galleries.")
TEST_IDS = flags.DEFINE_string("test_ids", None, "With --features: test identities, .mat or text; all if not given.")
PROTOCOL = flags.DEFINE_string("protocol", None, "The protocol; the run's own, or official for --features.")
TABLE = flags.DEFINE_enum("table", None, ["6", "7", "8"], "The paper's table to print.")
RUNS = flags.DEFINE_string("runs", None, "With --table: the folder of the runs; without it only published rows.")
JSON = flags.DEFINE_string("json", None, "With --features or --table: file to write the same to, as JSON.")


def evaluate() -> None:
    """Scores or compares, as the flags say, and prints the table."""
    if sum(flag.value is not None for flag in (WORKDIR, FEATURES, TABLE)) != 1:
        raise UserError(
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
        _score(WORKDIR.value)


def _score(workdir: str) -> None:
    from rgbir_jax.commands import scoring
    from rgbir_jax.evaluation.scores import tables

    changes = {"data_dir": DATA_DIR.value, "rand_perm": RAND_PERM.value, "protocol": PROTOCOL.value}
    scored = scoring.score(workdir, {name: value for name, value in changes.items() if value})
    if FEATURES_OUT.value:
        scoring.write_features(scored, FEATURES_OUT.value)
    print(tables(scored.scores))
    try:
        from rgbir_jax.commands import report
    except ModuleNotFoundError as error:
        if str(error.name).startswith("rgbir_jax"):
            raise
        print(f"No report is written: it needs {error.name}; pip install 'rgbir-jax[report]'.")
    else:
        print(report.write(scored))


def main() -> None:
    """Runs the command line."""
    run(evaluate)
