"""Does the image stage find people better than its teacher, and which of its parts matter?

    python -m benchmarks.ablations

trains, for each of the seeds 0, 1 and 2, the quickstart's teacher and its control (the teacher, trained further with
L_id only, for as many iterations as both image stages), and from the same teacher the image stages of each cell of the
table. A cell that changes only what the stage `image` does starts from the `drawing` of its preset; the others have a
`drawing` of their own. All in `runs/ablations` (`--workdir`). `--cells NAME...` takes some of the cells. If the command
is repeated, it resumes what was interrupted and skips what is finished.

The grid takes about seven hours on one core: 4 minutes for each cell and seed, and 10 for one with a `drawing` of its
own. `--json FILE` keeps the figures of each run as soon as it is scored (in runs/ablations.json, if not given). A run
with figures there is not trained again, even if its folder is gone, so several machines can train the grid one after
the other. Figures of another recipe than today's are refused. `--data_dir DIR` scores the same runs on the test persons
of another drawn tree, on whom no choice was made, and keeps these figures in files of their own.

It prints Markdown: rank-1 and mAP (all-search, single-shot on SYSU-MM01's tree) as mean ± standard deviation over the
seeds, and how far each row is ahead in mAP of the control of the same seed, and of the preset that its cell changes.
The intervals are of a paired bootstrap over probes: persons are drawn with replacement, all probes of a person
together, and the differences of their average precisions are averaged over the seeds. So they say nothing about other
seeds.
"""

import argparse
import hashlib
import itertools
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.machine import keep, machine, versions
from benchmarks.seeds import config_of, grid, plus_minus, run, summary
from rgbir_jax.evaluation.bootstrap import interval
from rgbir_jax.files import write_json

FIGURES = "ablation"  # the file of one run, in its folder
BASE = "base"
SYSTEMS_OF_BASE = ("teacher", "control")
OWN = "trained"
PLACES = ("data_dir", "prepared_dir", "from_run")  # where a run finds things, which may be anywhere


class Cell(NamedTuple):
    """Image stages: a preset of the quickstart and further options of train.py.

    Attributes:
        preset: the preset.
        options: the options.
        drawing: the cell from whose stage `drawing` this one starts; empty: it trains one.
    """

    preset: str = "paper"
    options: tuple[str, ...] = ()
    drawing: str = ""


def changed(*options):
    return Cell(options=tuple(f"--config.image.{option}" for option in options), drawing="paper")


def in_both(option):
    return tuple(f"--config.{stage}.{option}" for stage in ("drawing", "image"))


def without(*terms):
    """Leaves out terms of the stage `image`."""
    return changed(*(f"weights.{term}=0.0" for term in terms))


def never(term):
    """Leaves out a term that the stage `drawing` has too."""
    return Cell(options=in_both(f"weights.{term}=0.0"))


OF_SWAPS = ("L_id_recon", "L_code_s", "L_code_a", "L_dis", "L_adv_D", "L_adv_G")
NO_SWAPS = tuple(f"--config.image.weights.{term}=0.0" for term in ("L_cross", *OF_SWAPS))
NOTHING_DRAWN = ("--config.drawing.weights.L_cross=0.0", *NO_SWAPS)
RATES_OF_DRAWING = ("optimizers.trunk.learning_rate=5e-4", "optimizers.head.learning_rate=1e-3")
CELLS = {
    "paper": Cell(),
    "best": Cell("best"),
    "dgnet": Cell("dgnet"),
    **{f"without {term}": never(term) for term in ("L_simple", "L_cross", "L_id_orig")},
    **{f"without {term}": without(term) for term in ("L_id_recon", "L_code_s", "L_code_a", "L_dis")},
    "without L_adv": without("L_adv_D", "L_adv_G"),
    "without L_id_recon and L_dis": without("L_id_recon", "L_dis"),
    "detached appearance code": changed("detach_appearance=True"),
    "KL(q||p)": changed("teacher_kl=q||p"),
    "swaps within a modality": changed("swaps=within"),
    "swaps across modalities": changed("swaps=across"),
    "a fixed copy of E_a judges swaps": changed("freeze_appearance=True"),
    "E_a's rate as in drawing": changed(*RATES_OF_DRAWING),
    "best, with grey tones": Cell("best", in_both("networks.E_s.sees=grey")),
    "best, without L_triplet": Cell("best", in_both("weights.L_triplet=0.0")),
    # What the image system adds: the same batches, rates and schedules without a generated image.
    "best, L_id_orig and L_triplet only": Cell("best", NOTHING_DRAWN),
    "best, L_id_orig only": Cell("best", (*NOTHING_DRAWN, *in_both("weights.L_triplet=0.0"))),
    "three scales of D": Cell(options=in_both("networks.D.num_scales=3")),
}
SYSTEMS = {"by a": "a", "by pooled s": "s", "after drawing": "drawing"}  # further rows of the two cells below
WITH_SYSTEMS = ("paper", "best")


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    arguments = parse(argv)
    if arguments.score:
        score(arguments.score, arguments.data_dir)
        return
    figures = {
        "command": shlex.join(["python", "-m", "benchmarks.ablations", *argv]),
        "machine": machine(),
        "versions": versions("rgbir-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
    }
    runs = json.loads(arguments.json.read_text())["runs"] if arguments.json.is_file() else {}
    for seed, name in itertools.product(arguments.seeds, (BASE, *arguments.cells)):
        of_seeds = runs.setdefault(name, {})
        if str(seed) not in of_seeds:
            of_seeds[str(seed)] = figures_of(name, seed, arguments.workdir, arguments.data_dir)
            keep(arguments.json, figures | {"runs": runs})
        check_recipe(of_seeds[str(seed)], name, seed, arguments)
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
    parser.add_argument("--data_dir", type=Path, help="The tree with the test persons; if not given, that of training.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="The figures; if not given, in runs.")
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    arguments.json = arguments.json or Path("runs", figures_file("ablations", arguments.data_dir))
    wanted = {*arguments.cells, *itertools.chain(*map(needed, arguments.cells))}
    arguments.cells = [name for name in CELLS if name in wanted]
    if len(set(arguments.seeds)) < 2:
        parser.error("one seed gives no spread; choose 2 or more.")
    return arguments


def needed(name):
    """Returns the cells that a cell is compared with or starts from."""
    cell = CELLS[name]
    return {cell.preset, cell.drawing} & CELLS.keys()


def figures_file(stem, data_dir=None):
    """Returns the name of a file of figures, which are of the test persons of a tree; None: of that of training."""
    return f"{stem}_{data_dir.name}.json" if data_dir else f"{stem}.json"


def figures_of(name, seed, workdir, data_dir=None):
    """Trains and scores a run of the grid, and first the runs that it starts from, unless that is done."""
    folder = workdir / str(seed) / folder_name(name)
    file = folder / figures_file(FIGURES, data_dir)
    if not file.is_file():
        if data_dir:
            figures_of(name, seed, workdir)
        else:
            for earlier in starts_from(name):
                figures_of(earlier, seed, workdir)
            config, options = command(name, seed, workdir)
            run("train.py", f"--config={config}", f"--workdir={folder}", *options)
        # A process of its own: on a GPU, this one must not hold the memory that train.py needs.
        scored_on = [f"--data_dir={data_dir}"] if data_dir else []
        subprocess.run([sys.executable, "-m", "benchmarks.ablations", *scored_on, f"--score={folder}"], check=True)
    return json.loads(file.read_text())


def starts_from(name):
    """Returns the cells from which a cell takes stages."""
    if name == BASE:
        return ()
    return (BASE, CELLS[name].drawing) if CELLS[name].drawing else (BASE,)


def command(name, seed, workdir):
    """Returns the recipe of a run and the options of train.py, which name the runs that it starts from."""
    options = [f"--config.seed={seed}"]
    if name == BASE:
        return "quickstart:paper", [*options, "--config.recipe=('teacher','control')"]
    cell = CELLS[name]
    options += [
        "--config.recipe=('teacher','drawing','image')",
        f"--config.teacher.from_run={workdir / str(seed) / BASE}",
    ]
    if cell.drawing:
        options.append(f"--config.drawing.from_run={workdir / str(seed) / folder_name(cell.drawing)}")
    return f"quickstart:{cell.preset}", [*options, *cell.options]


def check_recipe(figures, name, seed, arguments):
    """Ends the program if figures were kept that a run of another recipe has."""
    if figures["recipe"] != recipe(config_of(*command(name, seed, arguments.workdir))):
        sys.exit(
            f"ablations: the figures of {name}, seed {seed}, are of another recipe than today's; "
            f"choose another --json and another --workdir than {arguments.json} and {arguments.workdir}."
        )


def recipe(config):
    """Returns twelve hexadecimal digits of a config, wherever its dataset and earlier runs lie."""

    def without_places(value):
        if not isinstance(value, dict):
            return value
        return {key: without_places(inner) for key, inner in sorted(value.items()) if key not in PLACES}

    return hashlib.sha256(json.dumps(without_places(config)).encode()).hexdigest()[:12]


def folder_name(cell):
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in cell)


def score(folder, data_dir=None):
    """Writes the figures of a run into its folder: by system rank-1, mAP and the AP of each person.

    `persons` has the number of probes of each.
    """
    from rgbir_jax import load
    from rgbir_jax.data.sources import open_source
    from rgbir_jax.evaluation.benchmark import Benchmark
    from rgbir_jax.evaluation.evaluate import probes_of, ranked
    from rgbir_jax.evaluation.per_probe import averaged
    from rgbir_jax.evaluation.reconstruction import reconstruction
    from rgbir_jax.inference.features import extractor, of_rows

    trained = load(folder)
    config = trained.config.copy_and_resolve_references()
    config.data_dir = str(data_dir or config.data_dir)
    source = open_source(config)
    benchmark = Benchmark.of(config, source.records)
    search = benchmark.searches[0]
    last, state = trained.stages[trained.last], trained.states[trained.last]
    systems = {name: (stage, trained.states[name]) for name, stage in trained.stages.items()}
    systems |= {OWN: (last, state)} | {code: (stage, state) for code, stage in last.controls.items()}
    records = benchmark.records
    person = records.person_id[probes_of(records, search)]
    persons, figures = {}, {}
    for name, (stage, state_of) in systems.items():
        features = extractor((stage,))((state_of,), *of_rows(source, benchmark.rows))
        probes = averaged(ranked(features, records, [search])[search.name], search.ap)
        persons, figures[name] = by_person(person, **probes)
    drawn = {"reconstruction": float(reconstruction(last, state, source, benchmark.rows).l1)} if last.renders else {}
    digest = recipe(json.loads((folder / "config.json").read_text()))
    write_json(
        folder / figures_file(FIGURES, data_dir), {"recipe": digest, "persons": persons, "systems": figures} | drawn
    )


def by_person(person, rank1, AP):
    """Averages over all probes, and over those of each person; probes without a match do not count.

    Returns:
        The number of probes by person, and the figures.
    """
    counts_for = ~np.isnan(AP)
    people, place, probes = np.unique(person[counts_for], return_inverse=True, return_counts=True)
    means = np.bincount(place, AP[counts_for]) / probes
    names = [int(person_id) for person_id in people]
    figures = {"rank-1": float(np.nanmean(rank1)), "mAP": float(np.nanmean(AP)), "AP": means.round(5).tolist()}
    return dict(zip(names, probes.tolist(), strict=True)), figures


def tabulate(runs, seeds, cells):
    """Returns the figures of each row, in percent.

    Args:
        runs: what `score` writes, by cell and seed.
        seeds: the seeds.
        cells: the cells whose rows follow those of teacher and control.
    """
    probes = np.array(list(runs[BASE][str(seeds[0])]["persons"].values()))
    rows = {name: (BASE, name) for name in SYSTEMS_OF_BASE}
    for name in cells:
        rows[name] = name, OWN
        rows |= {f"{name}, {row}": (name, system) for row, system in SYSTEMS.items() if name in WITH_SYSTEMS}

    def scored(cell, system):
        return [runs[cell][str(seed)]["systems"][system] for seed in seeds]

    figures = {}
    for name, (cell, system) in rows.items():
        own = scored(cell, system)
        figures[name] = summary(100 * np.array([(one["rank-1"], one["mAP"]) for one in own]))
        if name != "control":
            figures[name]["than control"] = ahead(own, scored(BASE, "control"), probes)
        other = (cell, OWN) if name not in CELLS else (CELLS[name].preset, OWN)
        if cell != BASE and other != (cell, system):
            figures[name]["than"] = other[0]
            figures[name]["than cell"] = ahead(own, scored(*other), probes)
        if system == OWN and all("reconstruction" in runs[cell][str(seed)] for seed in seeds) and draws(cell):
            figures[name]["reconstruction"] = float(
                np.mean([runs[cell][str(seed)]["reconstruction"] for seed in seeds])
            )
    return figures


def draws(cell):
    """Says whether the generator of a cell is trained."""
    return not set(NOTHING_DRAWN) <= set(CELLS[cell].options)


def ahead(own, others, probes):
    """Compares the mAP of each seed with that of another system, in percent.

    Args:
        own: the figures of a system by seed.
        others: those of another one.
        probes: the number of probes of each person.

    Returns:
        The mean over the seeds, its interval, and the difference of each seed.
    """
    pairs = zip(own, others, strict=True)
    differences = 100 * np.array([np.subtract(one["AP"], other["AP"]) for one, other in pairs])
    person = np.repeat(np.arange(len(probes)), probes)
    mean = interval(np.repeat(differences.mean(axis=0), probes), person)
    return mean._asdict() | {"seeds": (differences @ probes / probes.sum()).tolist()}


def markdown(rows, seeds):
    """Writes what `tabulate` returns as a table."""
    lines = {}
    for name, row in rows.items():
        cells = [plus_minus(row["rank-1"]), plus_minus(row["mAP"])]
        cells += [difference(row["than control"], seeds) if "than control" in row else ""]
        cells += [f"{difference(row['than cell'], seeds)} than {row['than']}" if "than" in row else ""]
        cells += [f"{row['reconstruction']:.3f}" if "reconstruction" in row else ""]
        lines[name.replace("|", r"\|")] = cells
    head = ["system", "rank-1", "mAP", "mAP more than control", "mAP more than another cell", "reconstruction L1"]
    return "\n\n".join([
        f"All-search, single-shot, in %; {seeds} seeds, mean ± sample standard deviation. Differences: mean of the "
        "seeds, 95% interval of a paired bootstrap over persons, and in how many seeds it is positive.",
        grid(head, lines),
    ])  # fmt: skip


def difference(ahead, seeds):
    positive = sum(value > 0 for value in ahead["seeds"])
    return f"{ahead['mean']:+.2f} ({ahead['low']:+.2f} to {ahead['high']:+.2f}), {positive} of {seeds}"


if __name__ == "__main__":
    main()
