"""Claim: `import rgbir_jax` takes less than 0.2 s in addition to the import of jax.

`python -m benchmarks.start_up` makes three measurements in fresh interpreters, in turn, and prints medians:

    imports     seconds of `import jax`, and in addition to it of `import rgbir_jax` and of `import
                rgbir_jax.commands.recipe` (all that training needs: Flax, Orbax, Optax; no TensorFlow)
    programs    seconds of `train.py --help`, of `--describe`, and of `--describe --flops`, which compiles each step to
                count its operations
    first_step  seconds from the command to the first finished iteration of the quickstart's teacher and image stage,
                which is the first line in metrics.jsonl; cold: with an empty compilation cache, warm: with a full one

The dataset is drawn into a temporary folder and is prepared before the time starts. `--source memory` reads it without
TensorFlow. With the quickstart's own source, "tf_data", the import of TensorFlow is part of the time. `--only` selects
some of the three measurements; `--json FILE` writes the figures.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.machine import keep, machine, versions
from benchmarks.timing import in_turn, medians

ROOT = Path(__file__).parents[1]
TARGET_S = 0.2
PACKAGE, TRAINING = "rgbir_jax", "rgbir_jax.commands.recipe"
CONFIG = "quickstart"
STAGES = ("teacher", "image")
_ONLY_TRAINING = {"log_every": 1, "evaluate_every": 0, "pictures_every": 0}


def main():
    arguments = parse()
    environment = {"machine": machine(), "versions": versions("jax", "flax", "orbax-checkpoint", "tensorflow-cpu")}
    print("; ".join(environment.values()))
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only or MEASUREMENTS:
            figures[name] = MEASUREMENTS[name](arguments, Path(folder))
    keep(arguments.json, environment | vars(arguments) | figures)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(MEASUREMENTS), metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--source", choices=("tf_data", "memory"), default="tf_data")
    parser.add_argument(
        "--rounds", type=int, default=3, help="Number of fresh interpreters for each; the median counts."
    )
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def imports(arguments, folder):
    """Measures imports within the interpreter, so that its own start is not included."""
    del folder
    measurements = {"jax": lambda: seconds_of_import("jax")} | {
        module: partial(seconds_of_import, module, after="import jax") for module in (PACKAGE, TRAINING)
    }
    rounds = in_turn(measurements, arguments.rounds)
    seconds = medians(rounds)
    print(f"import jax                                  {seconds['jax']:8.3f} s")
    print(f"import {PACKAGE}, after jax                 {seconds[PACKAGE]:8.3f} s (target {TARGET_S})")
    print(f"import {TRAINING}, after jax {seconds[TRAINING]:8.3f} s")
    return {"seconds": seconds, "rounds": rounds}


def seconds_of_import(module, after="pass"):
    code = f"{after}; import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(process.stdout)


def programs(arguments, folder):
    """Measures whole processes; `--describe --flops` with an empty compilation cache and with a full one."""
    describe = ("train.py", f"--config={CONFIG}", "--describe")
    cache = folder / "described"

    def warm():
        return seconds_of(*describe, "--flops", cache=cache)

    def cold():
        shutil.rmtree(cache, ignore_errors=True)
        return warm()

    measurements = {
        "--help": lambda: seconds_of("train.py", "--help", output="--workdir"),
        "--describe": lambda: seconds_of(*describe),
        "--describe --flops, cold": cold,
        "--describe --flops, warm": warm,
    }
    rounds = in_turn(measurements, arguments.rounds)
    seconds = medians(rounds)
    for name, value in seconds.items():
        print(f"train.py {name:35}{value:8.2f} s")
    return {"seconds": seconds, "rounds": rounds}


def seconds_of(*command, cache=None, output=""):
    """Measures a process from its start to its end.

    Args:
        command: a Python program and its arguments.
        cache: the folder of the compilation cache; None for the default one.
        output: a text that the program must print. If it is given, the exit code is ignored: absl's help ends with 1.
    """
    start = time.perf_counter()
    process = subprocess.run([sys.executable, *command], cwd=ROOT, env=variables(cache), capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if output not in process.stdout or (process.returncode and not output):
        raise RuntimeError(f"{' '.join(command)} failed: {process.stderr[-2000:]}")
    return seconds


def first_step(arguments, folder):
    """Measures the time from the command to the first finished iteration, by stage and state of the cache."""
    data = folder / "drawn"
    drawing = {"train": 12, "val": 4, "test": 8, "images": 4, "workers": 2}
    command = [sys.executable, "-m", "rgbir_jax.synthetic", "--out", data, "--size", "128", "64"]
    subprocess.run(command + [f"--{key}={value}" for key, value in drawing.items()], cwd=ROOT, check=True)
    full = folder / "compiled"
    # Prepares the data, fills the cache and trains the teacher that the image stage starts from.
    train(folder / "before", full, data, arguments.source)

    def seconds(stage, cold):
        def measure():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                cache = Path(scratch, "compiled") if cold else full
                earlier = [] if stage == STAGES[0] else [f"--config.{STAGES[0]}.from_run={folder / 'before'}"]
                return train(Path(scratch, "run"), cache, data, arguments.source, stage, earlier)

        return measure

    measurements = {
        f"{stage}, {state}": seconds(stage, state == "cold") for stage in STAGES for state in ("cold", "warm")
    }
    rounds = in_turn(measurements, arguments.rounds)
    medians_s = medians(rounds)
    for stage in STAGES:
        cold, warm = medians_s[f"{stage}, cold"], medians_s[f"{stage}, warm"]
        print(f"first step of {stage:8} cold {cold:7.1f} s   warm {warm:7.1f} s   ({arguments.source})")
    return {"seconds": medians_s, "rounds": rounds}


def train(workdir, cache, data, source, until="image", options=()):
    """Runs train.py for two iterations per stage; returns the seconds until the first of the stage `until` is logged.

    An iteration is logged after the next one was started, and only when it is finished.
    """
    short = {f"{stage}.{key}": value for stage in STAGES for key, value in ({"steps": 2} | _ONLY_TRAINING).items()}
    changes = short | {"data_dir": data, "source": source, "recipe": STAGES[: STAGES.index(until) + 1]}
    log = workdir / until / "metrics.jsonl"
    with (workdir.parent / f"{workdir.name}.log").open("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [
                *[sys.executable, "train.py", f"--config={CONFIG}", f"--workdir={workdir}"],
                *[f"--config.{key}={value}" for key, value in changes.items()],
                *options,
            ],
            cwd=ROOT,
            env=variables(cache),
            stdout=output,
            stderr=output,
        )
        while not (log.is_file() and log.stat().st_size) and process.poll() is None:
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        if process.wait():
            output.seek(0)
            raise RuntimeError(f"train.py failed: {output.read()[-2000:]}")
    return seconds


def variables(cache):
    """Returns the environment variables of a program that uses a compilation cache."""
    return os.environ | ({"JAX_COMPILATION_CACHE_DIR": str(cache)} if cache else {})


MEASUREMENTS = {"imports": imports, "programs": programs, "first_step": first_step}

if __name__ == "__main__":
    main()
