"""Claim: `import rgbir_jax` takes less than 0.2 s beyond importing jax; how long it is to the first finished step.

`python -m benchmarks.start_up` measures, each in fresh interpreters in turn, medians:

    imports     seconds of `import jax`, and beyond it of `import rgbir_jax` and `import rgbir_jax.recipe` (what
                training needs: Flax, Orbax, Optax; no TensorFlow)
    programs    seconds of `train.py --help`, and of `--describe`, which compiles each step to count its operations
    first step  seconds from the command to the first finished iteration of the quickstart's teacher and image stage, as
                its first line in metrics.jsonl tells; cold with an empty compilation cache, warm with a filled one

The dataset is drawn into a temporary folder and is prepared before the clock starts. `--source memory` reads it
without TensorFlow, whose import is part of the quickstart's own "tfds". `--only` measures some of the three;
`--json FILE` writes the figures.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import keep, machine, versions
from benchmarks.timing import in_turn, medians

ROOT = Path(__file__).parents[1]
TARGET_S = 0.2
CONFIG = "configs/quickstart.py"
STAGES = ("teacher", "image")
_NOTHING_ELSE = {"log_every": 1, "evaluate_every": 0, "pictures_every": 0}


def main():
    arguments = parse()
    where = {"machine": machine(), "versions": versions("jax", "flax", "orbax-checkpoint", "tensorflow-cpu")}
    print("; ".join(where.values()))
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only or MEASUREMENTS:
            measured[name] = MEASUREMENTS[name](arguments, Path(folder))
    keep(arguments.json, where | vars(arguments) | measured)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(MEASUREMENTS), metavar="WHAT", help=", ".join(MEASUREMENTS))
    parser.add_argument("--source", choices=("tfds", "memory"), default="tfds")
    parser.add_argument("--rounds", type=int, default=3, help="Fresh interpreters of each, of which the median counts.")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def imports(arguments, folder):
    """Seconds, taken inside the interpreter, so that its own start is not in them."""
    del folder
    ways = {
        "jax": lambda: seconds_of_import("jax"),
        "rgbir_jax": lambda: seconds_of_import("rgbir_jax", after="import jax"),
        "rgbir_jax.recipe": lambda: seconds_of_import("rgbir_jax.recipe", after="import jax"),
    }
    rounds = in_turn(ways, arguments.rounds)
    seconds = medians(rounds)
    print(f"import jax                           {seconds['jax']:8.3f} s")
    print(f"import rgbir_jax, beyond jax         {seconds['rgbir_jax']:8.3f} s (target {TARGET_S})")
    print(f"import rgbir_jax.recipe, beyond jax  {seconds['rgbir_jax.recipe']:8.3f} s")
    return {"seconds": seconds, "rounds": rounds}


def seconds_of_import(module, after="pass"):
    code = f"{after}; import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(told.stdout)


def programs(arguments, folder):
    """Seconds of whole processes; `--describe` with an empty compilation cache and with a filled one."""

    def describe(cache):
        return lambda: seconds_of("train.py", f"--config={CONFIG}", "--describe", cache=cache)

    def cold():
        shutil.rmtree(folder / "described", ignore_errors=True)
        return describe(folder / "described")()

    ways = {
        "--help": lambda: seconds_of("train.py", "--help", says="--workdir"),
        "--describe, cold": cold,
        "--describe, warm": describe(folder / "described"),
    }
    rounds = in_turn(ways, arguments.rounds)
    seconds = medians(rounds)
    for name, value in seconds.items():
        print(f"train.py {name:18}          {value:8.2f} s")
    return {"seconds": seconds, "rounds": rounds}


def seconds_of(*command, cache=None, says=""):
    """Of a process, from its start to its end; it has to say something, for absl's help ends with exit code 1."""
    start = time.perf_counter()
    told = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment(cache), capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if says not in told.stdout or (told.returncode and not says):
        raise RuntimeError(f"{' '.join(command)} failed: {told.stderr[-2000:]}")
    return seconds


def first_step(arguments, folder):
    """Seconds from the command to the first finished iteration, by stage and state of the cache."""
    data = folder / "drawn"
    drawing = {"train": 12, "val": 4, "test": 8, "images": 4, "workers": 2}
    command = [sys.executable, "-m", "rgbir_jax.synthetic", "--out", data, "--size", "128", "64"]
    subprocess.run(command + [f"--{key}={value}" for key, value in drawing.items()], cwd=ROOT, check=True)
    filled = folder / "compiled"
    # Prepares the data, fills the cache and leaves the teacher that the image stage starts from.
    train(folder / "filling", filled, data, arguments.source)

    def seconds(stage, cold):
        def measure():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                cache = Path(scratch, "compiled") if cold else filled
                earlier = [] if stage == STAGES[0] else [f"--config.{STAGES[0]}.from_run={folder / 'filling'}"]
                return train(Path(scratch, "run"), cache, data, arguments.source, stage, earlier)

        return measure

    ways = {f"{stage}, {state}": seconds(stage, state == "cold") for stage in STAGES for state in ("cold", "warm")}
    rounds = in_turn(ways, arguments.rounds)
    medians_s = medians(rounds)
    for stage in STAGES:
        cold, warm = medians_s[f"{stage}, cold"], medians_s[f"{stage}, warm"]
        print(f"first step of {stage:8} cold {cold:7.1f} s   warm {warm:7.1f} s   ({arguments.source})")
    return {"seconds": medians_s, "rounds": rounds}


def train(workdir, cache, data, source, until="image", options=()):
    """Runs train.py for two iterations a stage; seconds until a stage's first one is logged.

    The line about an iteration is written when the next one has been sent off, and waits for the first to be finished.
    """
    short = {f"{stage}.{key}": value for stage in STAGES for key, value in ({"steps": 2} | _NOTHING_ELSE).items()}
    changed = short | {"data_dir": data, "source": source, "recipe": STAGES[: STAGES.index(until) + 1]}
    log = workdir / until / "metrics.jsonl"
    with (workdir.parent / f"{workdir.name}.log").open("w+") as said:
        start = time.perf_counter()
        process = subprocess.Popen(
            [
                *[sys.executable, "train.py", f"--config={CONFIG}", f"--workdir={workdir}"],
                *[f"--config.{key}={value}" for key, value in changed.items()],
                *options,
            ],
            cwd=ROOT,
            env=environment(cache),
            stdout=said,
            stderr=said,
        )
        while not (log.is_file() and log.stat().st_size) and process.poll() is None:
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        if process.wait():
            said.seek(0)
            raise RuntimeError(f"train.py failed: {said.read()[-2000:]}")
    return seconds


def environment(cache):
    return os.environ | ({"JAX_COMPILATION_CACHE_DIR": str(cache)} if cache else {})


MEASUREMENTS = {"imports": imports, "programs": programs, "first_step": first_step}

if __name__ == "__main__":
    main()
