"""Systems of a table side by side: each trained with several seeds on the same drawn people.

    python -m benchmarks.rows table6
    python -m benchmarks.rows methods --seeds 3

trains the rows of `GROUPS` with the seeds 0, 1 and 2 (`--seeds`) in `runs/rows/GROUP/SEED/ROW` (`--workdir`) and
scores them. If the command is repeated, it resumes what was interrupted and skips what is scored. It prints Markdown:
rank-1 and mAP as mean ± standard deviation over the seeds, and the figures of each seed. `--json FILE` also writes the
figures, the command and library versions. The group `methods` needs `data/drawn_market` (make drawn_market).
"""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.machine import keep, machine, versions
from benchmarks.seeds import SPREAD, grid, plus_minus, run, summary
from rgbir_jax.evaluation.scores import systems


class Row(NamedTuple):
    """A run of train.py.

    Attributes:
        config: a shipped recipe.
        options: further options, in which {ROW} stands for the folder of an earlier row of the same seed.
        shows: the systems of its scores that are rows of the table, with their titles.
    """

    config: str
    options: tuple[str, ...] = ()
    shows: tuple[tuple[str, str], ...] = ()


class Group(NamedTuple):
    """A table.

    Attributes:
        setting: the search that is shown.
        rows: its rows by folder.
    """

    setting: str
    rows: dict[str, Row]


def _embedding(row, title):
    shows = (("trained", title), ("m", f"{title}, by m"))
    return Row(f"quickstart/embedding:{row}", ("--config.two_stream.from_run={bdtr}",), shows)


GROUPS = {
    "table6": Group(
        "indoor_single",
        {
            "baseline": Row("quickstart/two_stream:baseline", (), (("trained", "two-stream baseline"),)),
            "bdtr": Row("quickstart/two_stream:bdtr", (), (("trained", "M_bdtr"),)),
            "simple_dis": _embedding("simple_dis", "L_simple + L_dis"),
            "simple_dis_cross": _embedding("simple_dis_cross", "L_simple + L_dis + L_cross"),
            "random_triplet": _embedding("random_triplet", "the same + L_triplet, random triplets"),
            "hard_triplet": _embedding("hard_triplet", "the same + L_triplet, hard triplets"),
        },
    ),
    "methods": Group(
        "all_single",
        {
            "market": Row("quickstart/market"),
            "method1": Row(
                "quickstart/methods:method1",
                (),
                (("chance", "chance"), ("teacher", "teacher of both"), ("trained", "Method1")),
            ),
            "method2": Row(
                "quickstart/methods:method2",
                ("--config.teacher.from_run={method1}", "--config.image.transfer_from={market}"),
                (("trained", "Method2"),),
            ),
        },
    ),
}


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    arguments = parse(argv)
    group, workdir = GROUPS[arguments.group], arguments.workdir / arguments.group
    for seed in range(arguments.seeds):
        folders = {name: workdir / str(seed) / name for name in group.rows}
        for name, row in group.rows.items():
            train(row, seed, folders[name], folders)
    figures = {
        "command": shlex.join(["python", "-m", "benchmarks.rows", *argv]),
        "machine": machine(),
        "versions": versions("rgbir-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
    } | tabulate(workdir, arguments.seeds, group)
    print(markdown(figures))
    keep(arguments.json, figures)


def parse(argv):
    parser = argparse.ArgumentParser("rows", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=GROUPS, help="The table.")
    parser.add_argument("--seeds", type=int, default=3, help="Number of seeds: 0, 1, 2, ...")
    parser.add_argument("--workdir", type=Path, default=Path("runs/rows"), help="Folder of the runs.")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args(argv)
    if arguments.seeds < 2:
        parser.error(f"--seeds={arguments.seeds} gives no spread; choose 2 or more.")
    return arguments


def train(row, seed, folder, folders):
    """Trains a row, and scores it if it is shown, unless that is done."""
    if (folder / "scores.json").is_file():
        return
    options = [option.format(**folders) for option in row.options]
    run("train.py", f"--config={row.config}", f"--config.seed={seed}", f"--workdir={folder}", *options)
    if row.shows:
        run("eval.py", f"--workdir={folder}")


def tabulate(workdir, seeds, group):
    """Returns the figures of each row of the table, in percent, and of the reconstructions of rows that draw."""
    rows, reconstruction, about = {}, {}, {}
    for name, row in group.rows.items():
        if not row.shows:
            continue
        scores = [json.loads((workdir / str(seed) / name / "scores.json").read_text()) for seed in range(seeds)]
        about = {key: scores[0][key] for key in ("dataset", "protocol")}
        for system, title in row.shows:
            found = [systems(of_seed)[system][group.setting] for of_seed in scores]
            rows[title] = summary(100 * np.array([(one["cmc"][0], one["mAP"]) for one in found]))
        if "reconstruction" in scores[0]:
            reconstruction[title] = summary(np.array([[one["reconstruction"]["l1"]] for one in scores]), ("l1",))
    return about | {"setting": group.setting, "rows": rows, "reconstruction": reconstruction}


def markdown(figures):
    """Writes what `tabulate` returns as tables."""
    lines, each = {}, {}
    for title, row in figures["rows"].items():
        lines[title] = [plus_minus(row["rank-1"]), plus_minus(row["mAP"])]
        if figures["reconstruction"]:
            l1 = figures["reconstruction"].get(title)
            lines[title].append(f"{l1['l1']['mean']:.3f} ± {l1['l1']['std']:.3f}" if l1 else "")
        each[title] = [f"{r:.2f} / {m:.2f}" for r, m in zip(row["rank-1"]["seeds"], row["mAP"]["seeds"], strict=True)]
    head = ["system", "rank-1", "mAP", *(["reconstruction L1"] if figures["reconstruction"] else [])]
    seeds = len(next(iter(each.values())))
    return "\n\n".join([
        f"{figures['dataset']}, protocol {figures['protocol']}, {figures['setting']}, in %. {SPREAD}.",
        grid(head, lines),
        "Each seed, rank-1 / mAP:",
        grid(["system", *(f"seed {seed}" for seed in range(seeds))], each),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
