"""Does the image stage find people better than its teacher, and which of its parts matter?

    python -m benchmarks.ablations

trains, for each of the seeds 0, 1 and 2, the quickstart's teacher and its control (the teacher, trained on for as many
iterations as both image stages by L_id only), and from the same teacher the image stages of each cell of the table. A
cell that changes a loss starts from the `drawing` of its preset, so that only the stage `image` is without the loss; a
cell that changes a network or a preset has a `drawing` of its own. All in `runs/ablations` (`--workdir`).
`--cells NAME...` takes some of the cells. If the command is repeated, it resumes what was interrupted and skips what is
finished.

The grid takes hours: about 5 minutes of one core for each cell and seed. `--json FILE` keeps the figures of each run as
soon as it is scored (in benchmarks/results/ablations.json, if not given). A run with figures there is not trained
again, even if its folder is gone, so several machines can train the grid one after the other.

It prints Markdown: rank-1 and mAP (all-search, single-shot on SYSU-MM01's tree) as mean ± standard deviation over the
seeds, and how far each cell is ahead of the control of the same seed, with a paired bootstrap over probes: persons are
drawn with replacement, all probes of a person together, and the differences of their average precisions are averaged
over the seeds.
"""

import argparse
import itertools
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.machine import keep, machine, versions
from benchmarks.seeds import grid, plus_minus, run, summary
from rgbir_jax.evaluation.bootstrap import interval
from rgbir_jax.files import write_json

RESULTS = Path(__file__).parent / "results" / "ablations.json"
FIGURES = "ablation.json"  # of one run, in its folder
BASE = "base"
SYSTEMS_OF_BASE = ("teacher", "control")
OWN = "trained"


class Cell(NamedTuple):
    """Image stages: a preset of the quickstart and further options of train.py."""

    preset: str = "paper"
    options: tuple[str, ...] = ()
    drawing: str = ""  # the cell from whose stage `drawing` this one starts; empty: it trains one


def changed(*options, preset="paper"):
    return Cell(preset, tuple(f"--config.image.{option}" for option in options), drawing=preset)


def without(*terms):
    return changed(*(f"weights.{term}=0.0" for term in terms))


def in_both(option):
    return tuple(f"--config.{stage}.{option}" for stage in ("drawing", "image"))


OF_SWAPS = ("L_id_recon", "L_code_s", "L_code_a", "L_dis", "L_adv_D", "L_adv_G")
NOTHING_DRAWN = (*in_both("weights.L_cross=0.0"), *(f"--config.image.weights.{term}=0.0" for term in OF_SWAPS))
CELLS = {
    "paper": Cell(),
    "best": Cell("best"),
    "dgnet": Cell("dgnet"),
    **{f"without {term}": without(term) for term in ("L_simple", "L_cross", "L_id_orig", "L_id_recon")},
    **{f"without {term}": without(term) for term in ("L_code_s", "L_code_a", "L_dis")},
    "without L_adv": without("L_adv_D", "L_adv_G"),
    "without L_id_recon and L_dis": without("L_id_recon", "L_dis"),
    "detached appearance code": changed("detach_appearance=True"),
    "KL(q||p)": changed("teacher_kl=q||p"),
    "swaps within a modality": changed("swaps=within"),
    "swaps across modalities": changed("swaps=across"),
    "a fixed copy of E_a judges swaps": changed("freeze_appearance=True"),
    "E_a's rate as in drawing": changed("optimizers.trunk.learning_rate=5e-4", "optimizers.head.learning_rate=1e-3"),
    "best, with grey tones": Cell("best", in_both("networks.E_s.sees=grey")),
    "best, without L_triplet": Cell("best", in_both("weights.L_triplet=0.0")),
    # What the image system adds: the same batches, rates and schedules without a generated image.
    "best, L_id_orig and L_triplet only": Cell("best", NOTHING_DRAWN),
    "best, L_id_orig only": Cell("best", (*NOTHING_DRAWN, *in_both("weights.L_triplet=0.0"))),
    "three scales of D": Cell(options=in_both("networks.D.num_scales=3")),
}
BASE_CELL = Cell(options=("--config.recipe=('teacher','control')",))
CODES = {
    f"{cell}, by {title}": (cell, code) for cell in ("paper", "best") for title, code in (("a", "a"), ("pooled s", "s"))
}


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    arguments = parse(argv)
    if arguments.score:
        score(arguments.score)
        return
    figures = {
        "command": shlex.join(["python", "-m", "benchmarks.ablations", *argv]),
        "machine": machine(),
        "versions": versions("rgbir-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
    }
    runs = json.loads(arguments.json.read_text())["runs"] if arguments.json.is_file() else {}
    for seed, name in itertools.product(arguments.seeds, (BASE, *arguments.cells)):
        if str(seed) not in runs.setdefault(name, {}):
            runs[name][str(seed)] = figures_of(name, seed, arguments.workdir)
            keep(arguments.json, figures | {"runs": runs})
    rows = tabulate(runs, arguments.seeds, arguments.cells)
    print(markdown(rows, len(arguments.seeds)))
    keep(arguments.json, figures | {"rows": rows, "runs": runs})


def parse(argv):
    parser = argparse.ArgumentParser(
        "ablations", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED", help="Two at least.")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), metavar="NAME")
    parser.add_argument("--workdir", type=Path, default=Path("runs/ablations"), help="Folder of the runs.")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="The figures of each run.")
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    wanted = {*arguments.cells, *(CELLS[name].drawing for name in arguments.cells)}
    arguments.cells = [name for name in CELLS if name in wanted]
    if len(set(arguments.seeds)) < 2:
        parser.error("one seed gives no spread; choose 2 or more.")
    return arguments


def figures_of(name, seed, workdir):
    """Trains and scores a run of the grid, and first the runs that it starts from, unless that is done."""
    folder = workdir / str(seed) / folder_name(name)
    if not (folder / FIGURES).is_file():
        train(folder, seed, BASE_CELL if name == BASE else started(name, seed, workdir))
        # A process of its own: on a GPU, this one must not hold the memory that train.py needs.
        subprocess.run([sys.executable, "-m", "benchmarks.ablations", f"--score={folder}"], check=True)
    return json.loads((folder / FIGURES).read_text())


def started(name, seed, workdir):
    """Returns a cell with the options that name the runs which it starts from; trains these if they are not there."""
    cell = CELLS[name]
    figures_of(BASE, seed, workdir)
    options = [
        "--config.recipe=('teacher','drawing','image')",
        f"--config.teacher.from_run={workdir / str(seed) / BASE}",
    ]
    if cell.drawing:
        figures_of(cell.drawing, seed, workdir)
        options.append(f"--config.drawing.from_run={workdir / str(seed) / folder_name(cell.drawing)}")
    return Cell(cell.preset, (*options, *cell.options))


def train(folder, seed, cell):
    run("train.py", f"--config=quickstart:{cell.preset}", f"--config.seed={seed}", f"--workdir={folder}", *cell.options)


def folder_name(cell):
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in cell)


def score(folder):
    """Writes the figures of a run into its folder: the persons, and by system rank-1, mAP and the persons' AP."""
    from rgbir_jax import load
    from rgbir_jax.data.sources import open_source
    from rgbir_jax.evaluation.benchmark import Benchmark
    from rgbir_jax.evaluation.evaluate import probes_of, ranked
    from rgbir_jax.evaluation.per_probe import averaged
    from rgbir_jax.evaluation.reconstruction import reconstruction
    from rgbir_jax.inference.features import extractor, of_rows

    trained = load(folder)
    source = open_source(trained.config)
    benchmark = Benchmark.of(trained.config, source.records)
    search = benchmark.searches[0]
    last, state = trained.stages[trained.last], trained.states[trained.last]
    systems = {name: (stage, trained.states[name]) for name, stage in trained.stages.items()}
    systems |= {OWN: (last, state)} | {code: (stage, state) for code, stage in last.controls.items()}
    records = benchmark.records
    person = records.person_id[probes_of(records, search)]
    figures = {}
    for name, (stage, state_of) in systems.items():
        features = extractor((stage,))((state_of,), *of_rows(source, benchmark.rows))
        probes = averaged(ranked(features, records, [search])[search.name], search.ap)
        figures[name] = by_person(person, **probes)
    drawn = {"reconstruction": float(reconstruction(last, state, source, benchmark.rows).l1)} if last.renders else {}
    write_json(folder / FIGURES, {"systems": figures} | drawn)


def by_person(person, rank1, AP):
    """Returns the means over all probes, and over the probes of each person; probes without a match do not count."""
    counts_for = ~np.isnan(AP)
    people, place, probes = np.unique(person[counts_for], return_inverse=True, return_counts=True)
    means = np.bincount(place, AP[counts_for]) / probes
    names = [int(person_id) for person_id in people]
    return {
        "rank-1": float(np.nanmean(rank1)),
        "mAP": float(np.nanmean(AP)),
        "AP": dict(zip(names, means.round(5).tolist(), strict=True)),
        "probes": dict(zip(names, probes.tolist(), strict=True)),
    }


def tabulate(runs, seeds, cells):
    """Returns the figures of each row, in percent.

    Args:
        runs: what `score` writes, by cell and seed.
        seeds: the seeds.
        cells: the rows, besides teacher and control.
    """
    rng = np.random.default_rng(0)
    rows = {name: (BASE, name) for name in SYSTEMS_OF_BASE}
    for name in cells:
        rows |= {name: (name, OWN)} | {row: (name, code) for row, (cell, code) in CODES.items() if cell == name}
    control = [runs[BASE][str(seed)]["systems"]["control"] for seed in seeds]
    probes = np.array(list(control[0]["probes"].values()))
    person = np.repeat(np.arange(len(probes)), probes)
    figures = {}
    for name, (cell, system) in rows.items():
        of_seeds = [runs[cell][str(seed)] for seed in seeds]
        scored = [run["systems"][system] for run in of_seeds]
        figures[name] = summary(100 * np.array([(one["rank-1"], one["mAP"]) for one in scored]))
        if name == "control":
            continue
        ahead = 100 * np.array(
            [precisions(one) - precisions(other) for one, other in zip(scored, control, strict=True)]
        )
        figures[name]["ahead"] = interval(np.repeat(ahead.mean(axis=0), probes), person, rng)._asdict()
        figures[name]["ahead"]["seeds"] = (ahead @ probes / probes.sum()).tolist()
        if system == OWN and "reconstruction" in of_seeds[0]:
            figures[name]["reconstruction"] = float(np.mean([run["reconstruction"] for run in of_seeds]))
    return figures


def precisions(scored):
    return np.array(list(scored["AP"].values()))


def markdown(rows, seeds):
    """Writes what `tabulate` returns as a table."""
    lines = {}
    for name, row in rows.items():
        cells = [plus_minus(row["rank-1"]), plus_minus(row["mAP"]), "", "", ""]
        if "ahead" in row:
            ahead = row["ahead"]
            cells[2] = f"{ahead['mean']:+.2f} ({ahead['low']:+.2f} to {ahead['high']:+.2f})"
            cells[3] = f"{sum(value > 0 for value in ahead['seeds'])} of {seeds}"
        if "reconstruction" in row:
            cells[4] = f"{row['reconstruction']:.3f}"
        lines[name] = cells
    head = ["system", "rank-1", "mAP", "mAP - control (95%)", "seeds ahead", "reconstruction L1"]
    return "\n\n".join([
        f"All-search, single-shot, in %; {seeds} seeds, mean ± sample standard deviation; the interval is a paired "
        "bootstrap over persons.",
        grid(head, lines),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
