"""Does the image stage find people better than its teacher, and which of its parts matter?

    python -m benchmarks.ablations

trains, for each of the seeds 0, 1 and 2, the quickstart's teacher and its control (the teacher, trained on for as many
iterations as both image stages by L_id only), and from the same teacher the image stages of each cell of the table. A
cell that changes a loss starts from the `drawing` of its preset, so that only the stage `image` is without the loss; a
cell that changes a network or a preset has a `drawing` of its own. All in `runs/ablations` (`--workdir`).
`--cells NAME...` takes some of the cells. If the command is repeated, it resumes what was interrupted and skips what is
finished.

It prints Markdown: rank-1 and mAP (all-search, single-shot on SYSU-MM01's tree) as mean ± standard deviation over the
seeds, and how far each cell is ahead of the control of the same seed, with a paired bootstrap over probes: persons are
drawn with replacement, all probes of a person together, and the differences of their average precisions are averaged
over the seeds. `--json FILE` also writes the figures, the command and library versions.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.machine import keep, machine, versions
from benchmarks.seeds import grid, plus_minus, run, summary
from rgbir_jax.evaluation.bootstrap import interval

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
    "a tenth of E_a's rate": changed("optimizers.trunk.learning_rate=5e-5", "optimizers.head.learning_rate=1e-4"),
    "best, with grey tones": Cell(
        "best", tuple(f"--config.{stage}.networks.E_s.sees=grey" for stage in ("drawing", "image"))
    ),
    "three scales of D": Cell(
        options=tuple(f"--config.{stage}.networks.D.num_scales=3" for stage in ("drawing", "image"))
    ),
}
CODES = {
    f"{cell}, by {title}": (cell, code) for cell in ("paper", "best") for title, code in (("a", "a"), ("pooled s", "s"))
}


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    arguments = parse(argv)
    if arguments.score:
        score(arguments.score)
        return
    for seed in range(arguments.seeds):
        folder = arguments.workdir / str(seed)
        train(folder / BASE, seed, Cell(options=("--config.recipe=('teacher','control')",)))
        for name in arguments.cells:
            cell = CELLS[name]
            options = ["--config.recipe=('teacher','drawing','image')", f"--config.teacher.from_run={folder / BASE}"]
            if cell.drawing:
                options.append(f"--config.drawing.from_run={folder / folder_name(cell.drawing)}")
            train(folder / folder_name(name), seed, Cell(cell.preset, (*options, *cell.options)))
    figures = {
        "command": shlex.join(["python", "-m", "benchmarks.ablations", *argv]),
        "machine": machine(),
        "versions": versions("rgbir-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
        "rows": tabulate(arguments.workdir, arguments.seeds, arguments.cells),
    }
    print(markdown(figures["rows"], arguments.seeds))
    keep(arguments.json, figures)


def parse(argv):
    parser = argparse.ArgumentParser(
        "ablations", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="Number of seeds: 0, 1, 2, ...")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), metavar="NAME")
    parser.add_argument("--workdir", type=Path, default=Path("runs/ablations"), help="Folder of the runs.")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    wanted = {*arguments.cells, *(CELLS[name].drawing for name in arguments.cells)}
    arguments.cells = [name for name in CELLS if name in wanted]
    if arguments.seeds < 2:
        parser.error(f"--seeds={arguments.seeds} gives no spread; choose 2 or more.")
    return arguments


def folder_name(cell):
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in cell)


def train(folder, seed, cell):
    """Trains and scores a run, unless that is done."""
    if (folder / "probes.npz").is_file():
        return
    run("train.py", f"--config=quickstart:{cell.preset}", f"--config.seed={seed}", f"--workdir={folder}", *cell.options)
    # A process of its own: on a GPU, this one must not hold the memory that train.py needs.
    subprocess.run([sys.executable, "-m", "benchmarks.ablations", f"--score={folder}"], check=True)


def score(folder):
    """Writes `probes.npz` into a run's folder: by system, rank-1 and average precision of each probe; its person."""
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
    arrays = {"person": records.person_id[probes_of(records, search)]}
    for name, (stage, state_of) in systems.items():
        features = extractor((stage,))((state_of,), *of_rows(source, benchmark.rows))
        trials = ranked(features, records, [search])[search.name]
        arrays |= {f"{name}/{measure}": values for measure, values in averaged(trials, search.ap).items()}
    if last.renders:
        arrays["reconstruction"] = np.array(reconstruction(last, state, source, benchmark.rows).l1)
    np.savez(folder / "probes.npz", **arrays)


def tabulate(workdir, seeds, cells):
    """Returns the figures of each row, in percent."""
    rng = np.random.default_rng(0)
    base = [np.load(workdir / str(seed) / BASE / "probes.npz") for seed in range(seeds)]
    control = [file["control/AP"] for file in base]
    rows = {name: (base, name) for name in SYSTEMS_OF_BASE}
    for name in cells:
        files = [np.load(workdir / str(seed) / folder_name(name) / "probes.npz") for seed in range(seeds)]
        rows |= {name: (files, OWN)} | {row: (files, code) for row, (cell, code) in CODES.items() if cell == name}
    figures = {}
    for name, (files, system) in rows.items():
        precision = [file[f"{system}/AP"] for file in files]
        columns = [[np.nanmean(file[f"{system}/{key}"]) for key in ("rank1", "AP")] for file in files]
        figures[name] = summary(100 * np.array(columns))
        if name == "control":
            continue
        ahead = 100 * (np.array(precision) - np.array(control))
        figures[name]["ahead"] = interval(ahead.mean(axis=0), files[0]["person"], rng)._asdict()
        figures[name]["ahead"]["seeds"] = np.nanmean(ahead, axis=1).tolist()
        if system == OWN and "reconstruction" in files[0]:
            figures[name]["reconstruction"] = float(np.mean([file["reconstruction"] for file in files]))
    return figures


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
