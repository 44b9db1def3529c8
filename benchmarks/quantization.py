"""Measures what the weights' number of bits costs: the size of the file, and how well the features find people.

`python -m benchmarks.quantization RUN... --data_dir DIR` scores the features of runs, or of the model `drawn`, with
their weights in float32, in float16 as `rgbir-export` writes them, and in int8. In int8 each output channel of a kernel
or matrix has a scale of its own, the largest absolute weight / 127; biases, scales and statistics stay float32. The
computation is always that of the run. It prints the size of each file in bytes (in float32: of its numbers), rank-1 and
mAP of the protocol's first search, the largest difference between features, and the mean difference between swaps in
grey levels. `--json FILE` writes the figures.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import rgbir_jax
from benchmarks.machine import keep, machine, versions
from rgbir_jax.data.sources import open_source
from rgbir_jax.evaluation.benchmark import Benchmark
from rgbir_jax.evaluation.evaluate import evaluate
from rgbir_jax.inference import weights
from rgbir_jax.inference.features import extractor, of_rows, swap
from rgbir_jax.run import chain


def main():
    arguments = parse()
    environment = {"machine": machine(), "versions": versions("numpy", "jax", "jaxlib", "flax", "safetensors")}
    print("; ".join(environment.values()))
    rows = [row for run in arguments.runs for row in measure(run, arguments.data_dir)]
    keep(arguments.json, environment | {"command": " ".join(sys.orig_argv[1:]), "rows": rows})


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--data_dir", required=True, help="The dataset whose test people are searched.")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def measure(name: str, data_dir: str) -> list[dict]:
    """Prints and returns a row for each kind of number."""
    run = rgbir_jax.load(name)
    run.config.update({"data_dir": data_dir, "source": "memory"})
    source = open_source(run.config)
    benchmark = Benchmark.of(run.config, source.records)
    stages = {stage: run.stages[stage] for stage in chain(run.config)}
    extract, inputs = extractor(tuple(stages.values())), of_rows(source, benchmark.rows)
    images = source.read(benchmark.rows[:: len(benchmark.rows) // 64])
    exact, rows = None, []
    for kind, (states, size) in states_of(run, stages).items():
        features = extract(tuple(states.values()), *inputs)
        exact = features if exact is None else exact
        search, scores = next(iter(evaluate(features, benchmark.records, benchmark.searches).items()))
        row = {"run": name, "weights": kind, "bytes": size, "search": search}
        row |= {"rank1": 100 * scores["cmc"][0], "mAP": 100 * scores["mAP"]}
        row |= {"largest_difference": float(np.abs(features - exact).max())}
        if run.stages[run.last].renders:
            swaps = [swap(run.stages[run.last], of[run.last], images, images[::-1]) for of in (run.states, states)]
            row["mean_difference_of_swaps"] = float(np.abs(np.subtract(*swaps, dtype=np.float32)).mean())
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else str(value) for key, value in row.items()))
        rows.append(row)
    return rows


def states_of(run, stages):
    """Returns the States and the size of their file by kind of number; the first are the run's own."""
    read, sizes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("float16", "int8"):
            path = Path(folder) / kind
            weights.write(path, stages, run.states, int8=kind == "int8")
            read[kind] = {name: weights.read(path, name, stage) for name, stage in stages.items()}
            sizes[kind] = path.stat().st_size
        sizes["float32"] = sum(4 * tensor.size for tensor in load_file(Path(folder) / "float16").values())
    read = {"float32": {name: run.states[name] for name in stages}, **read}
    return {kind: (states, sizes[kind]) for kind, states in read.items()}


if __name__ == "__main__":
    main()
