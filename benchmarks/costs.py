"""What finished runs cost: seconds of training, parameters, and how fast images become features.

    python -m benchmarks.costs runs/a runs/b

Of each run it prints the seconds that its stages were trained for, without those taken from another run and without
start-up, compilation of the first iteration, validation and checkpoints; the parameters that its last stage trains; and
the images per second that become features on this machine, with their mirror images and from memory: the median of
`--rounds` rounds, in which the runs take turns. `--json FILE` writes the figures.
"""

import argparse
import json
import time
from pathlib import Path

import jax

from benchmarks.machine import keep, machine, versions
from benchmarks.seeds import grid
from benchmarks.timing import in_turn, medians
from rgbir_jax import load
from rgbir_jax.data.sources import open_source
from rgbir_jax.evaluation.benchmark import Benchmark
from rgbir_jax.inference.features import extractor, of_rows
from rgbir_jax.training import compilation

COSTS = ("seconds of training", "parameters", "features/s")


def main(argv=None):
    arguments = parse(argv)
    figures = {
        "machine": machine(),
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "versions": versions("rgbir-jax", "numpy", "jax", "jaxlib"),
        "runs": costs(arguments.runs, arguments.rounds),
    }
    print("; ".join(figures[key] for key in ("machine", "device", "versions")))
    print(grid(["run", *COSTS], {run: cells(of_run) for run, of_run in figures["runs"].items()}))
    keep(arguments.json, figures)


def parse(argv):
    parser = argparse.ArgumentParser("costs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="The folder of a run.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args(argv)


def costs(folders, rounds):
    """Returns the figures of each run by its folder."""
    compilation.prepare()
    figures, measurements = {}, {}
    for folder in folders:
        trained = load(folder)
        stage, state = trained.stages[trained.last], trained.states[trained.last]
        source = open_source(trained.config)
        rows = of_rows(source, Benchmark.of(trained.config, source.records).rows)
        figures[str(folder)] = {
            "seconds": seconds_of_training(folder, trained.config),
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        }
        measurements[str(folder)] = speed_of(extractor((stage,)), state, rows)
    for folder, speed in medians(in_turn(measurements, rounds)).items():
        figures[folder]["features_per_second"] = speed
    return figures


def speed_of(extract, state, rows):
    """Returns a function that extracts features once and returns the images per second; compiles it before."""
    images = len(extract((state,), *rows))

    def measure():
        begun = time.perf_counter()
        extract((state,), *rows)
        return images / (time.perf_counter() - begun)

    return measure


def seconds_of_training(folder, config):
    """Adds up the time between the lines of the logs of the stages that were trained in this run."""
    seconds = 0.0
    for name in config.recipe:
        if config[name].from_run:
            continue
        lines = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
        images = config.batch.identities * len(config.modalities) * config.batch.shots
        before = 0
        for line in lines:
            if "images_per_second" in line:
                seconds += (line["step"] - before) * images / line["images_per_second"]
                before = line["step"]
    return seconds


def cells(figures):
    """Formats the figures of a run in the order of `COSTS`."""
    return [f"{figures['seconds']:.0f}", f"{figures['parameters']:,}", f"{figures['features_per_second']:,.0f}"]


if __name__ == "__main__":
    main()
