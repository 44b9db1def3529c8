"""Trains for thousands of tiny iterations in one process, and shows that nothing grows.

    make soak
    python -m tests.reliability.soak --steps 5000 --json runs/soak.json

The image stage of `recipe.py` is trained with its log, TensorBoard files, pictures, validation and checkpoints, each of
them often. About every 100 iterations the process' resident memory, open files and threads are noted. A straight line
is fitted to each of them over the last four fifths of the iterations: it must not rise by more than its tolerance. The
exit status is 1 if one does, or if training fails. Linux only.
"""

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.machine import keep, machine, versions
from benchmarks.seeds import grid
from rgbir_jax import synthetic
from tests.reliability.program import Program
from tests.reliability.recipe import SYSTEMS

TOLERANCES = {"resident memory, MiB": 16.0, "open files": 1.0, "threads": 1.0}  # the rise of the fitted line
PATIENCE_S = 6 * 3600
# Freed memory goes back to the system at once. Otherwise resident memory also counts what glibc keeps for later.
ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}
EVERY = {"log_every": 5, "pictures_every": 50, "checkpoint_every": 50, "evaluate_every": 100}


class Reading(NamedTuple):
    """What a process uses after an iteration."""

    step: int
    memory: float  # MiB
    files: int
    threads: int


def read(process: int, step: int) -> Reading:
    """Reads what a process uses now."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    files = len(os.listdir(f"/proc/{process}/fd"))
    return Reading(step, int(status["VmRSS"].split()[0]) / 1024, files, int(status["Threads"]))


def watch(program: Program, steps: int, every: int) -> list[Reading]:
    """Reads what a training uses, at the first line of its log after each `every` iterations."""
    readings, due = [], every
    while due <= steps and program.wait_until(partial(program.reached, "image", due)):
        try:
            readings.append(read(program.process.pid, program.last("image")))
        except (OSError, KeyError):  # it has just ended
            break
        due = readings[-1].step // every * every + every
    return readings


def rows(readings: list[Reading]) -> dict[str, dict[str, float]]:
    """Summarises each quantity over the last four fifths of the iterations."""
    points = np.array([reading for reading in readings if reading.step >= readings[-1].step / 5], float)
    summary = {}
    for (name, tolerance), values in zip(TOLERANCES.items(), points.T[1:], strict=True):
        slope = np.polyfit(points[:, 0], values, 1)[0]
        ends = {"first": values[0], "last": values[-1], "least": values.min(), "most": values.max()}
        rise = slope * (points[-1, 0] - points[0, 0])
        summary[name] = {key: float(value) for key, value in ends.items()} | {
            "rise": float(rise),
            "tolerance": tolerance,
        }
    return summary


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--every", type=int, default=100, help="iterations between two readings")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    arguments, begun = parse(argv), time.time()
    with tempfile.TemporaryDirectory() as folder:
        synthetic.write(
            synthetic.sysu_plan(6, 4, 5, 2, 0), Path(folder, "tree"), seed=0, size=(64, 32), arguments={}, workers=1
        )
        options = {"data_dir": f"{folder}/tree", "source": "memory", "teacher.steps": 4}
        options |= {f"image.{key}": value for key, value in ({"steps": arguments.steps} | EVERY).items()}
        command = ["train.py", "--config=tests/reliability/recipe.py:image", f"--workdir={folder}/run"]
        command += [f"--config.{key}={value}" for key, value in options.items()]
        program = Program(command, Path(folder, "run"), SYSTEMS["image"], Path(folder, "output"), ALLOCATOR, PATIENCE_S)
        readings = watch(program, arguments.steps, arguments.every)
        failures = [program.text()[-2000:]] if program.end() else []
    summary = rows(readings)
    failures += [
        f"{name} rises by {row['rise']:.1f}" for name, row in summary.items() if row["rise"] > row["tolerance"]
    ]
    figures = {
        "command": f"python -m tests.reliability.soak --steps {arguments.steps}",
        "date": time.strftime("%Y-%m-%d"),
        "minutes": round((time.time() - begun) / 60, 1),
        "machine": machine(),
        "versions": versions("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
        "summary": summary,
        "readings": [reading._asdict() for reading in readings],
        "failures": failures,
    }
    head = ["", *next(iter(summary.values()))]
    print(grid(head, {name: [f"{value:.1f}" for value in row.values()] for name, row in summary.items()}))
    print("; ".join(figures[name] for name in ("command", "date", "machine", "versions")))
    print(f"{figures['minutes']} minutes.", *failures)
    keep(arguments.json, figures)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
