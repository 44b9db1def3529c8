"""Systems of a table side by side: each trained with several seeds on the same drawn people.

    python -m benchmarks.rows table6
    python -m benchmarks.rows methods --seeds 3
    python -m benchmarks.rows comparators --seeds 2 --jobs 2

trains the rows of `GROUPS` with the seeds 0, 1 and 2 (`--seeds`) in `runs/rows/GROUP/SEED/ROW` (`--workdir`) and
scores them. If the command is repeated, it resumes what was interrupted and skips what is scored. It prints Markdown:
rank-1, mAP and mINP as mean ± standard deviation over the seeds, the figures of each seed, and for the group
`comparators` also what training and features cost (`benchmarks/costs.py`). `--json FILE` also writes the figures, the
command and library versions. The group `methods` needs `data/drawn_market` (make drawn_market).

`--jobs N` trains N seeds at a time, each on its share of the processor's cores, and every other seed from the last row
to the first: two seeds then meet in the middle, and each finds half of the compiled programs in JAX's cache. What they
print is in `runs/rows/GROUP/SEED/ROW.log`.
"""

import argparse
import json
import os
import shlex
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.costs import COSTS, cells, costs
from benchmarks.machine import keep, machine, versions
from benchmarks.seeds import SPREAD, grid, plus_minus, run, summary
from rgbir_jax.evaluation.scores import systems

COLUMNS = ("rank-1", "mAP", "mINP")


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
        costs: whether the table shows what they cost.
    """

    setting: str
    rows: dict[str, Row]
    costs: bool = False


def _embedding(row, title):
    shows = (("trained", title), ("m", f"{title}, by m"))
    return Row(f"quickstart/embedding:{row}", ("--config.two_stream.from_run={bdtr}",), shows)


def _comparator(preset, title):
    return Row(f"quickstart/comparators:{preset}", ("--config.teacher.from_run={best}",), (("trained", title),))


def _alone(preset, title):
    return Row(f"quickstart/comparators:{preset}", (), (("trained", title),))


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
    "comparators": Group(
        "all_single",
        {
            "best": Row(
                "quickstart/comparators:best",
                (),
                (
                    ("chance", "chance"),
                    ("teacher", "teacher"),
                    ("control", "control: the teacher, trained further"),
                    ("trained", "image system, `best`"),
                ),
            ),
            "paper": _comparator("paper", "image system, `paper`"),
            "one_stream": _alone("one_stream", "one-stream"),
            "zero_padding": _alone("zero_padding", "zero-padding"),
            "bdtr": _comparator("bdtr", "M_bdtr"),
            "cmgan": _comparator("cmgan", "cmGAN"),
            "sdl": _comparator("sdl", "SDL"),
            "cmpig": _comparator("cmpig", "cmPIG"),
            "hicmd": _comparator("hicmd", "Hi-CMD"),
            "base": _comparator("base", "base of AGW"),
            "agw": _comparator("agw", "AGW"),
            "caj": _comparator("caj", "CAJ"),
            "deen": _comparator("deen", "DEEN"),
            "rle": _comparator("rle", "RLE"),
        },
        costs=True,
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
    shares = shares_of(sorted(os.sched_getaffinity(0)), arguments.jobs) if arguments.jobs > 1 else [None]
    with ThreadPoolExecutor(len(shares)) as pool:
        seeds = range(arguments.seeds)
        list(pool.map(lambda seed: train_seed(group, seed, workdir / str(seed), shares[seed % len(shares)]), seeds))
    figures = {
        "command": shlex.join(["python", "-m", "benchmarks.rows", *argv]),
        "machine": machine(),
        "versions": versions("rgbir-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
    } | tabulate(workdir, arguments.seeds, group)
    if group.costs:
        found = costs([workdir / "0" / name for name in group.rows], rounds=3)  # after training: it uses the devices
        titles = [row.shows[-1][1] for row in group.rows.values()]
        figures["costs"] = dict(zip(titles, found.values(), strict=True))
    print(markdown(figures))
    keep(arguments.json, figures)


def parse(argv):
    parser = argparse.ArgumentParser("rows", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=GROUPS, help="The table.")
    parser.add_argument("--seeds", type=int, default=3, help="Number of seeds: 0, 1, 2, ...")
    parser.add_argument("--jobs", type=int, default=1, help="Number of seeds that are trained at a time.")
    parser.add_argument("--workdir", type=Path, default=Path("runs/rows"), help="Folder of the runs.")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args(argv)
    if arguments.seeds < 2:
        parser.error(f"--seeds={arguments.seeds} gives no spread; choose 2 or more.")
    if not 1 <= arguments.jobs <= arguments.seeds:
        parser.error(f"--jobs={arguments.jobs}: choose 1 to {arguments.seeds}, the number of seeds.")
    return arguments


def shares_of(cores, jobs):
    """Divides cores among jobs; with fewer cores than jobs, jobs share them."""
    return [cores[job::jobs] or [cores[job % len(cores)]] for job in range(jobs)]


def train_seed(group, seed, folder, cores):
    """Trains and scores all rows with a seed.

    Args:
        group: the table.
        seed: the seed.
        folder: the folder of the seed's runs.
        cores: the cores to use; None: all, and print what the programs print.
    """
    if cores:
        os.sched_setaffinity(0, cores)  # of this thread, and of the programs that it starts
    folders = {name: folder / name for name in group.rows}
    for name in order(group, backwards=bool(cores and seed % 2)):
        row = group.rows[name]
        begun = time.perf_counter()
        train(row, seed, folders[name], folders, folder / f"{name}.log" if cores else None)
        if cores:
            print(f"seed {seed}: {name} is done, in {time.perf_counter() - begun:.0f} s", file=sys.stderr)


def order(group, *, backwards):
    """Returns the names of the rows as they are trained: first those that others start from, in the table's order."""
    first = [name for name in group.rows if any(f"{{{name}}}" in "".join(row.options) for row in group.rows.values())]
    others = [name for name in group.rows if name not in first]
    return first + others[:: -1 if backwards else 1]


def train(row, seed, folder, folders, log=None):
    """Trains a row, and scores it if it is shown, unless that is done."""
    if (folder / "scores.json").is_file():
        return
    options = [option.format(**folders) for option in row.options]
    run("train.py", f"--config={row.config}", f"--config.seed={seed}", f"--workdir={folder}", *options, log=log)
    if row.shows:
        run("eval.py", f"--workdir={folder}", "--noreport", log=log)


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
            rows[title] = summary(100 * np.array([(one["cmc"][0], one["mAP"], one["mINP"]) for one in found]), COLUMNS)
        if "reconstruction" in scores[0]:
            reconstruction[title] = summary(np.array([[one["reconstruction"]["l1"]] for one in scores]), ("l1",))
    return about | {"setting": group.setting, "rows": rows, "reconstruction": reconstruction}


def markdown(figures):
    """Writes what `tabulate` returns as tables."""
    lines, each = {}, {}
    reconstruction, cost = figures["reconstruction"], figures.get("costs", {})
    for title, row in figures["rows"].items():
        lines[title] = [plus_minus(row[column]) for column in COLUMNS]
        if reconstruction:
            l1 = reconstruction.get(title)
            lines[title].append(f"{l1['l1']['mean']:.3f} ± {l1['l1']['std']:.3f}" if l1 else "")
        if cost:
            lines[title] += cells(cost[title]) if title in cost else [""] * len(COSTS)
        each[title] = [f"{r:.2f} / {m:.2f}" for r, m in zip(row["rank-1"]["seeds"], row["mAP"]["seeds"], strict=True)]
    head = ["system", *COLUMNS, *(["reconstruction L1"] if reconstruction else []), *(COSTS if cost else [])]
    seeds = len(next(iter(each.values())))
    return "\n\n".join([
        f"{figures['dataset']}, protocol {figures['protocol']}, {figures['setting']}, in %. {SPREAD}.",
        grid(head, lines),
        "Each seed, rank-1 / mAP:",
        grid(["system", *(f"seed {seed}" for seed in range(seeds))], each),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
