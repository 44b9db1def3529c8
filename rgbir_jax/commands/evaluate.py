"""Scores a run of train.py, or features of any other system; prints the paper's tables with runs.

    python eval.py --workdir runs/quickstart
    python eval.py --features F.npz --rand_perm rand_perm_cam.mat --test_ids test_id.mat
    python eval.py --table 7 --runs runs
    python eval.py --compare runs/a runs/b

The first prints the table and writes `scores.json`, `per_probe.npz`, `thresholds.json` and `report.html` into the run's
folder; with `--features_out` also a file for the second. Scores of other data than the run's own (--data_dir) do not
replace them: they go into the folder other_data/NAME in the run's, where NAME is that of the data's folder with a
checksum. Another system's .npz file has `feature` float [images, size], `person_id` (or `pid`), `camera` (or `cam`) and
`index`, the image's number from 1 within person and camera. These are images of SYSU-MM01 unless there are `dataset`,
`modality` and `split` as well, see `rgbir_jax.evaluation.feature_file`. The third prints Table 6, 7 or 8 as Markdown,
or a table of RegDB or LLCM (--table=regdb), with every run that the first has scored on its own data. Runs on the folds
of RegDB are averaged. The fourth says by how much runs that the first has scored are ahead of the first of them, with
paired bootstrap intervals.

`--rerank` also scores after k-reciprocal re-ranking. These scores use the other probes and have tables of their own,
labelled "re-ranked (k1, k2, λ)".
"""

import itertools
import json
from pathlib import Path

from absl import flags

from rgbir_jax.commands.flags import run
from rgbir_jax.errors import UserError
from rgbir_jax.files import check_writable, writing

WORKDIR = flags.DEFINE_string("workdir", None, "A run of train.py to score and to report on.")
DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "With --workdir: the dataset, if it is not where the run had it, or another one, whose scores go into other_data.",
)
PREPARED_DIR = flags.DEFINE_string("prepared_dir", None, "With --workdir: the folder for decoded images.")
SOURCE = flags.DEFINE_string("source", None, "With --workdir: tf_data or memory, if not as the run; the same images.")
FEATURES_OUT = flags.DEFINE_string("features_out", None, "With --workdir: an .npz file to write the features to.")
DISENTANGLEMENT = flags.DEFINE_bool(
    "disentanglement", None, "With --workdir: also measure what generated images and codes hold, in a minute or two."
)
JUDGE = flags.DEFINE_string(
    "judge",
    None,
    "With --disentanglement: a run on other drawn people, which says whom an image shows; without it the model `drawn` "
    "that comes with the package.",
)
SWAP_IMAGES = flags.DEFINE_integer(
    "swap_images",
    None,
    "With --disentanglement: the number of structure images and of appearance images of each modality, all of which "
    "are combined; 24 if not given. With more of them the standard errors are smaller.",
    lower_bound=2,
)
FEATURES = flags.DEFINE_string("features", None, "Features to score, an .npz file.")
RAND_PERM = flags.DEFINE_string("rand_perm", None, "The file that draws the galleries: SYSU-MM01's rand_perm_cam.mat.")
TEST_IDS = flags.DEFINE_string("test_ids", None, "With --features: SYSU-MM01's test_id.mat or .txt; all if not given.")
PROTOCOL = flags.DEFINE_string("protocol", None, "The protocol; without it the run's own, or the dataset's first.")
TABLE = flags.DEFINE_enum(
    "table", None, ["6", "7", "8", "regdb", "llcm"], "The paper's table to print, or one of another dataset."
)
RUNS = flags.DEFINE_string(
    "runs",
    None,
    "With --table: the folder of the runs; without it only published rows. Runs that differ only in config.fold are "
    "averaged.",
)
COMPARE = flags.DEFINE_multi_string(
    "compare", None, "Folders of scored runs to compare with the first of them: --compare runs/a runs/b."
)
RERANK = flags.DEFINE_bool(
    "rerank", None, "With --workdir or --features: also score after k-reciprocal re-ranking, in tables of their own."
)
REPORT = flags.DEFINE_bool("report", None, "With --workdir: --noreport writes scores without report.html.")
JSON = flags.DEFINE_string("json", None, "With --features, --table or --compare: file to write the same to, as JSON.")

# By the flag that says what to do: the flags that it is used with.
MODES = {
    "workdir": (
        "data_dir",
        "prepared_dir",
        "source",
        "features_out",
        "rand_perm",
        "protocol",
        "disentanglement",
        "judge",
        "swap_images",
        "rerank",
        "report",
    ),
    "features": ("rand_perm", "test_ids", "protocol", "json", "rerank"),
    "table": ("runs", "json"),
    "compare": ("json",),
}


def evaluate() -> None:
    """Scores or compares, as the flags say, and prints the table."""
    _check_flags()
    for flag in (FEATURES_OUT, JSON):
        if flag.value is not None:
            check_writable(Path(flag.value), f"--{flag.name}")
    if FEATURES.value is not None:
        from rgbir_jax.evaluation.feature_file import score_feature_file

        rest = (RAND_PERM.value, TEST_IDS.value, PROTOCOL.value, _reranking())
        _show(*score_feature_file(FEATURES.value, *rest))
    elif TABLE.value is not None:
        from rgbir_jax.evaluation import tables

        _show(*tables.table_with_runs(TABLE.value, RUNS.value))
    elif COMPARE.value is not None:
        from rgbir_jax.evaluation.comparison import compare

        _show(*compare(COMPARE.value))
    elif WORKDIR.value is not None:
        _score(WORKDIR.value)


def _show(table: str, content: dict) -> None:
    """Prints a table, also if --json cannot be written, and writes it."""
    print(table, flush=True)
    if JSON.value is not None:
        with writing(JSON.value):
            text = json.dumps(content, indent=1, ensure_ascii=False)
            Path(JSON.value).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _given(name: str) -> bool:
    return flags.FLAGS[name].value is not None


def _check_flags() -> None:
    """Refuses several modes, none, and a flag that the mode does not use."""
    modes = [mode for mode in MODES if _given(mode)]
    if len(modes) != 1:
        raise UserError(
            "give exactly one of --workdir (a run to score), --features (a file to score), "
            "--table (6, 7, 8, regdb or llcm) and --compare (runs)."
        )
    for name in filter(_given, itertools.chain(*MODES.values())):
        if name not in MODES[modes[0]]:
            others = " or ".join(f"--{mode}" for mode, names in MODES.items() if name in names)
            raise UserError(f"--{name} belongs to {others} and is not used with --{modes[0]}; leave it out.")
    for name in ("judge", "swap_images"):
        if _given(name) and not DISENTANGLEMENT.value:
            raise UserError(f"--{name} belongs to --disentanglement; add it, or leave --{name} out.")
    if COMPARE.value and len(COMPARE.value) < 2:
        raise UserError(f"--compare takes two runs or more; {COMPARE.value[0]} is one.")


def _reranking():
    """Returns the published parameters of re-ranking; None if it is not asked for."""
    from rgbir_jax.evaluation.reranking import Reranking

    return Reranking() if RERANK.value else None


def _score(workdir: str) -> None:
    from rgbir_jax.commands import disentanglement, scoring
    from rgbir_jax.evaluation.disentanglement import tables
    from rgbir_jax.evaluation.scores import tables as score_tables
    from rgbir_jax.run import load

    reranking = _reranking()
    changes = {flag.name: flag.value for flag in (DATA_DIR, PREPARED_DIR, SOURCE, RAND_PERM, PROTOCOL) if flag.value}
    run = load(workdir)
    run.config.update(changes)
    judge = disentanglement.check(run, JUDGE.value) if DISENTANGLEMENT.value else None
    scored = scoring.compute(run, reranking=reranking)
    print(score_tables(scored.scores), flush=True)  # also if the run is on a disk that cannot be written
    scoring.write(scored)
    if FEATURES_OUT.value:
        scoring.write_features(scored, FEATURES_OUT.value)
    measured = disentanglement.kept(scored)
    if DISENTANGLEMENT.value:
        measured = disentanglement.measure(scored, judge, SWAP_IMAGES.value or disentanglement.CHOSEN)
        print("", *tables(measured), sep="\n\n", flush=True)
        disentanglement.write(scored, measured)
    if REPORT.value is False:
        return
    try:
        from rgbir_jax.commands import report
    except ModuleNotFoundError as error:
        if str(error.name).startswith("rgbir_jax"):
            raise
        print(f"No report is written: it needs {error.name}; pip install 'rgbir-jax[report]'.")
    else:
        print(report.write(scored, measured))


def main() -> None:
    """Runs the command line."""
    run(evaluate)
