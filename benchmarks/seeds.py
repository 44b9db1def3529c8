"""Trains and scores one recipe with several seeds, and prints how much its scores vary.

    python -m benchmarks.seeds quickstart --seeds 3 -- --config.image.steps=200

runs train.py and eval.py with the seeds 0, 1 and 2 in `runs/seeds/quickstart/0`, `1` and `2` (`--workdir`). CONFIG is
the name of a shipped recipe or a file, as for train.py. Options after `--` are passed to train.py. If the command is
repeated, it resumes what was interrupted and skips the seeds that are trained and scored.

At the end it prints Markdown: rank-1 and mAP of every system in scores.json, the figures of each seed, and how far
`trained` is ahead of `teacher` and `control` of the same seed. `--setting` chooses the search; the default is the first
one in scores.json, all_single on SYSU-MM01. `--json FILE` also writes the figures, the command and library versions.
"""

import argparse
import json
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import config_flags

from benchmarks.machine import keep, machine, versions
from rgbir_jax.commands.flags import SHIPPED, config_file
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.scores import systems
from rgbir_jax.lookup import make_importable, use_config_folder

# None of these imports JAX: on a GPU it would take the memory that train.py needs.
ROOT = Path(__file__).parents[1]
PAIRS = (("trained", "teacher"), ("trained", "control"))
SPREAD = "± is the sample standard deviation over the seeds (divided by n - 1)"


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    arguments, options = parse(argv)
    folders = [arguments.workdir / str(seed) for seed in range(arguments.seeds)]
    for seed, folder in enumerate(folders):
        changes = [f"--config.seed={seed}", f"--workdir={folder}", *options]
        if is_done(folder, arguments.config, changes):
            print(f"seed {seed} is trained and scored in {folder}; skipped.", file=sys.stderr)
            continue
        run("train.py", f"--config={arguments.config}", *changes)
        run("eval.py", f"--workdir={folder}")
    figures = {
        "command": shlex.join(["python", "-m", "benchmarks.seeds", *argv]),
        "machine": machine(),
        "versions": versions("rgbir-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
    } | tabulate(folders, arguments.setting)
    print(markdown(figures, arguments.config))
    keep(arguments.json, figures)


def parse(argv):
    """Splits the command line into the arguments of this program and the options of train.py."""
    end = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser("seeds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", metavar="CONFIG", help="A recipe or a file, with :PRESET if it has presets.")
    parser.add_argument("--seeds", type=int, default=3, help="Number of seeds: 0, 1, 2, ...")
    parser.add_argument("--workdir", type=Path, help="Folder of the runs, one per seed; default runs/seeds/NAME.")
    parser.add_argument("--setting", help="The search to tabulate: all_single, indoor_single, ...")
    parser.add_argument("--json", metavar="FILE")
    arguments, options = parser.parse_args(argv[:end]), argv[end + 1 :]
    name, _, preset = arguments.config.partition(":")
    try:
        path = config_file(name)
    except UserError as error:
        parser.error(str(error))
    if arguments.seeds < 2:
        parser.error(f"--seeds={arguments.seeds} gives no spread; choose 2 or more.")
    for option in options:
        if option.lstrip("-").split("=")[0] in ("config", "config.seed", "workdir"):
            parser.error(f"{option} cannot follow --: this program sets config, seed and workdir of every run.")
    arguments.workdir = arguments.workdir or Path("runs/seeds", f"{recipe_name(path)}_{preset}".rstrip("_"))
    return arguments, options


def recipe_name(path):
    """Returns a config file's name in one word: that of a shipped recipe, with _ for /, or the file's own."""
    path, shipped = path.resolve(), SHIPPED.resolve()
    relative = path.relative_to(shipped) if path.is_relative_to(shipped) else Path(path.name)
    return "_".join(part for part in relative.with_suffix("").parts if part != "__init__") or path.parent.name


def is_done(folder, config, changes):
    """Checks that a run has exactly the config that a command selects, is fully trained, and was scored afterwards.

    Args:
        folder: the run's folder.
        config: a file, or the name of a shipped recipe, with :PRESET.
        changes: the other options of train.py.
    """
    if not ((folder / "config.json").is_file() and (folder / "scores.json").is_file()):
        return False
    try:
        selected = config_of(config, changes)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError):
        return False  # train.py prints what is wrong
    if selected != json.loads((folder / "config.json").read_text()):
        return False
    trained_here = [name for name in selected["recipe"] if not selected[name]["from_run"]]
    last = [folder / name / "checkpoints" / str(selected[name]["steps"]) for name in trained_here]
    scored = (folder / "scores.json").stat().st_mtime
    return all(checkpoint.is_dir() and checkpoint.stat().st_mtime <= scored for checkpoint in last)


def config_of(config, changes):
    """Returns the config that a command selects, with the types of JSON, as config.json has it.

    Args:
        config: a file, or the name of a shipped recipe, with :PRESET.
        changes: the other options of train.py.
    """
    name, colon, preset = config.partition(":")
    path = config_file(name)
    make_importable(str(SHIPPED.parent))  # as in train.py
    use_config_folder(str(path.parent.resolve()))
    values, argv = flags.FlagValues(), ["train.py", f"--config={path}{colon}{preset}", *changes]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    values(argv, known_only=True)
    return json.loads(json.dumps(values.config.to_dict()))


def run(program, *options, log=None):
    """Runs train.py or eval.py. Their output goes to stderr, so that stdout has only the tables, or to a file `log`."""
    with ExitStack() as files:
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
        output = files.enter_context(log.open("a")) if log else sys.stderr
        process = subprocess.Popen([sys.executable, ROOT / program, *options], stdout=output, stderr=log and output)
        try:
            code = process.wait()
        except KeyboardInterrupt:  # Ctrl-C reaches the program too, and train.py first writes a checkpoint
            code = process.wait()
    if code:
        where = f"in {log}" if log else "above"
        sys.exit(f"seeds: {program} {shlex.join(options)} ended with exit code {code}; its message is {where}.")


def tabulate(folders, setting=None):
    """Returns the figures of all seeds with their means and deviations; systems and differences are in percent."""
    scores = [json.loads((folder / "scores.json").read_text()) for folder in folders]
    runs = [systems(of_seed) for of_seed in scores]
    names, setting = list(runs[0]), setting or next(iter(runs[0]["trained"]))
    for folder, scored in zip(folders, runs, strict=True):
        if list(scored) != names:
            sys.exit(
                f"seeds: {folder} does not have the systems of {folders[0]}; score it again: eval.py --workdir {folder}"
            )
        if setting not in scored["trained"]:
            sys.exit(f"seeds: {folder} has no scores {setting}; --setting can be {', '.join(scored['trained'])}.")
    percent = {
        name: 100 * np.array([(run[name][setting]["cmc"][0], run[name][setting]["mAP"]) for run in runs])
        for name in names
    }
    pairs = [(ahead, behind) for ahead, behind in PAIRS if {ahead, behind} <= set(names)]
    figures = {name: scores[0][name] for name in ("dataset", "protocol")} | {
        "setting": setting,
        "systems": {name: summary(values) for name, values in percent.items()},
        "differences": {f"{a} - {b}": summary(percent[a] - percent[b]) for a, b in pairs},
    }
    if all("reconstruction" in of_seed for of_seed in scores):
        l1 = [[of_seed["reconstruction"][name] for name in ("l1", "mean_image")] for of_seed in scores]
        figures["reconstruction"] = summary(np.array(l1), ("l1", "mean_image"))
    return figures


def summary(values, names=("rank-1", "mAP")):
    """Returns mean, sample standard deviation and all values of each column; `values` has one row per seed."""
    return {
        name: {"mean": float(column.mean()), "std": float(column.std(ddof=1)), "seeds": column.tolist()}
        for name, column in zip(names, values.T, strict=True)
    }


def markdown(figures, config):
    """Writes what `tabulate` returns as tables and sentences."""
    rows, differences = figures["systems"], figures["differences"]
    count = len(rows["trained"]["mAP"]["seeds"])
    each_seed = {name: zip(row["rank-1"]["seeds"], row["mAP"]["seeds"], strict=True) for name, row in rows.items()}
    parts = [
        f"# {config}, {count} seeds",
        f"{figures['dataset']}, protocol {figures['protocol']}, {figures['setting']}, in %. {SPREAD}.",
        grid(["system", "rank-1", "mAP"], {name: map(plus_minus, row.values()) for name, row in rows.items()}),
        "## Each seed: rank-1 / mAP",
        grid(
            ["system", *(f"seed {seed}" for seed in range(count))],
            {name: (f"{rank1:.2f} / {ap:.2f}" for rank1, ap in pairs) for name, pairs in each_seed.items()},
        ),
    ]
    if differences:
        lines = {name: map(plus_minus, row.values()) for name, row in differences.items()}
        parts += ["## Differences between systems of the same seed", grid(["difference", "rank-1", "mAP"], lines)]
        parts += [sentence(name, row) for name, row in differences.items()]
    if "reconstruction" in figures:
        l1, mean_image = (f"{row['mean']:.4f} ± {row['std']:.4f}" for row in figures["reconstruction"].values())
        parts += ["## Reconstruction", f"L1 of the test people's reconstructions {l1}, of the mean image {mean_image}."]
    return "\n\n".join(parts)


def sentence(name, row):
    """Says which of two systems is ahead, unless the difference is no larger than its own standard deviation."""
    ahead, behind = name.split(" - ")
    verdicts = []
    for column, statistics in row.items():
        points = abs(statistics["mean"])
        if points <= statistics["std"]:
            verdicts.append(f"in {column} the difference is within the spread")
        else:
            leader = ahead if statistics["mean"] > 0 else behind
            verdicts.append(f"in {column} {leader} is ahead by {points:.2f} points")
    return f"Of {ahead} and {behind}, {' and '.join(verdicts)} (± one standard deviation)."


def plus_minus(statistics):
    return f"{statistics['mean']:.2f} ± {statistics['std']:.2f}"


def grid(head, lines):
    rows = [head, ["---"] * len(head), *([name, *cells] for name, cells in lines.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
