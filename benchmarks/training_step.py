"""Claim: one compiled iteration trains at least 2.0 times the images/s of its PyTorch twin on a GPU.

`python -m benchmarks.training_step` times an iteration of `configs/sysu_image.py` (8 identities x 2 modalities x
2 shots) against `benchmarks/torch_twin`, from the same weights, in rounds in turn, and prints images/s (medians),
their ratio, peak memory where the backend tells it, and how near the step is to this machine's limit: its counted
FLOPs and bytes against the measured rates of a matrix product and of a copy. `--stage teacher` times the teacher's
iteration, `two_stream` and `embedding` those of the embedding-space system, which have no twin: their rows stand alone.

The batch lies on the device on both sides. Ours is uint8 and is augmented within the step; the twin is given images
that are augmented already, its pairs and its coin, which favours it. On a GPU the twin runs with bf16 autocast,
channels_last and torch.compile. Targets there: ratio 2.0, 35% of the matrix rate, less memory than the twin. On a CPU
both run in float32 and the ratio is only reported. `--size 80 40 --width-divisor 8` is soon done anywhere.
Without PyTorch the twin's row is left out. `--trace DIR` writes a profile of two more iterations, for ui.perfetto.dev
or TensorBoard; `--json FILE` writes the figures.
"""

import argparse
import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np

from benchmarks import limit
from benchmarks.machine import keep, machine, versions
from benchmarks.timing import in_turn, medians
from benchmarks.workload import CLASSES, RECIPES, Iteration, initialised, random_batch, recipe
from rgbir_jax.data import augment
from rgbir_jax.training import compilation

WITH_TWIN = ("image", "teacher")
TRACED = 2  # iterations; on a CPU one alone fills more than ten MiB
TARGETS = {"ratio": 2.0, "share_of_matrix_rate": 0.35}


def main():
    compilation.prepare()
    arguments, config = parse()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory beside JAX
    stage, states = initialised(config, arguments.stage)
    batch = random_batch(config, stage)
    size, unit = batch["camera"].size, "embeddings" if stage.reads else "images"
    where = {
        "machine": machine(),
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "versions": versions("numpy", "jax", "jaxlib", "torch"),
    }
    print("; ".join(where.values()))
    of_size = "" if stage.reads else f" of {config.image_size}"
    print(f"stage {arguments.stage}, preset {arguments.preset or 'default'}, {size} {unit}{of_size}, {config.dtype}")

    ours = Iteration(stage, states[arguments.stage], batch)
    steps_of: dict[str, Callable[[int], float]] = {"ours": ours.round}
    if arguments.stage in WITH_TWIN and find_spec("torch"):
        compiled = on_gpu() if arguments.torch_compile is None else arguments.torch_compile
        steps_of = {"twin": twin(config, arguments.stage, states, batch, compiled)} | steps_of
    first = {name: steps(1) for name, steps in steps_of.items()}
    for steps in steps_of.values():
        steps(arguments.steps)
    rates = {
        name: lambda steps=steps: size * arguments.steps / steps(arguments.steps) for name, steps in steps_of.items()
    }
    rounds = in_turn(rates, arguments.rounds)
    rate = medians(rounds)
    peak = {"ours": ours.peak_memory()} | ({"twin": twin_peak_memory()} if "twin" in rate else {})
    for name in rate:
        memory = f"peak memory {peak[name] / 2**30:.2f} GiB" if peak[name] else "peak memory not told"
        print(f"{name:6}{rate[name]:10.2f} {unit}/s   first step {first[name]:6.1f} s   {memory}")
    measured = {"rounds": rounds, f"{unit}_per_second": rate, "first_step_s": first, "peak_bytes": peak}
    if "twin" in rate:
        measured["ratio"] = rate["ours"] / rate["twin"]
        print(f"ratio {measured['ratio']:.2f} (target on a GPU {TARGETS['ratio']})")
    else:
        print("PyTorch is not installed" if arguments.stage in WITH_TWIN else "this stage has no PyTorch twin", end="")
        print(": nothing to compare with.")
    measured |= against_the_limit(ours, size / rate["ours"], config.dtype)
    if arguments.trace:
        with jax.profiler.trace(arguments.trace):
            ours.round(TRACED)
        written = sum(path.stat().st_size for path in Path(arguments.trace).rglob("*") if path.is_file())
        print(f"{arguments.trace} has the profile of {TRACED} iterations, {written / 2**20:.1f} MiB")
    keep(arguments.json, where | vars(arguments) | {"dtype": config.dtype} | measured)


def parse():
    """(arguments, the recipe that they ask for)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=tuple(RECIPES), default="image")
    parser.add_argument("--preset", help="Of the stage's recipe in configs/; without it the recipe's default.")
    parser.add_argument("--size", nargs=2, type=int, default=(256, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--width-divisor", type=int, default=1, help="Divides the widths of all networks.")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="Default: bfloat16 on a GPU, float32 on a CPU."
    )
    parser.add_argument(
        "--torch-compile", action=argparse.BooleanOptionalAction, help="Default: on a GPU yes, on a CPU no."
    )
    parser.add_argument("--rounds", type=int, default=5, help="Rounds of each side, of which the median counts.")
    parser.add_argument("--steps", type=int, default=10, help="Iterations of a round.")
    parser.add_argument("--trace", metavar="DIR")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    dtype = arguments.dtype or ("bfloat16" if on_gpu() else "float32")
    try:
        config = recipe(arguments.stage, arguments.preset, dtype, arguments.size, arguments.width_divisor)
    except ValueError as error:
        parser.error(str(error))
    return arguments, config


def on_gpu() -> bool:
    return jax.default_backend() != "cpu"


def against_the_limit(ours: Iteration, seconds: float, dtype: str) -> dict:
    """Prints and returns what the step has to do, what this machine could do it in, and the step's share of that."""
    flops, accessed, ceilings = ours.flops(), ours.bytes_accessed(), limit.ceilings(dtype)
    product, copy = ceilings.values()
    at_ceiling = {"operations": flops / jax.local_device_count() / product, "bytes": accessed / copy}
    share = at_ceiling["operations"] / seconds
    print(f"ceilings     {product:.3e} FLOP/s (matrix product), {copy:.3e} B/s (copy)")
    print(f"operations   {flops:.3e} FLOPs: {at_ceiling['operations']:.4f} s at the matrix product's rate")
    print(f"bytes        {accessed:.3e} by XLA: {at_ceiling['bytes']:.4f} s at the copy's rate, if no cache helps")
    print(f"step         {seconds:.4f} s")
    target = TARGETS["share_of_matrix_rate"]
    print(f"share of the matrix product's rate {share:.1%} (target on a GPU {target:.0%})")
    return ceilings | {
        "flops_per_step": flops,
        "bytes_accessed_per_step_and_device": accessed,
        "step_s": seconds,
        "at_ceiling_s": at_ceiling,
        "share_of_matrix_rate": share,
    }


def twin(config, name, states, batch, compiled):
    """A function of the number of iterations that gives the seconds they take."""
    import torch

    from benchmarks.torch_twin.training import ClassifierTwin, ImageTwin

    device = "cuda" if on_gpu() and torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")  # TF32, as JAX has it
    torch.backends.cudnn.benchmark = True
    how = {"device": device, "bfloat16": config.dtype == "bfloat16", "compiled": compiled}
    teacher = ClassifierTwin(config.teacher, CLASSES, **how)
    teacher.load(states["teacher"])
    system = ImageTwin(config.image, CLASSES, teacher, **how) if name == "image" else None
    if system:
        system.load(states["image"])

    images = np.array(augment.normalise(batch["image"].reshape(-1, *batch["image"].shape[3:])))
    x = torch.from_numpy(images).permute(0, 3, 1, 2).to(device, memory_format=torch.channels_last)
    identities, modalities, shots = batch["image"].shape[:3]
    erased = x.flip(3)  # any other images
    y = torch.from_numpy(batch["label"]).long().repeat_interleave(modalities * shots).to(device)
    lender = torch.arange(identities * modalities, device=device).roll(modalities)
    coin = torch.Generator().manual_seed(0)

    def step():
        if system:
            system.step(x, erased, y, lender, bool(torch.rand((), generator=coin) < 0.5), shots)
        else:
            teacher.step(x, y)

    def round_of(steps):
        start = time.perf_counter()
        for _ in range(steps):
            step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return round_of


def twin_peak_memory():
    """Bytes, or None on a CPU."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


if __name__ == "__main__":
    main()
