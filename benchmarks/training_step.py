"""Claim: one compiled iteration trains at least 2.0 times the images/s of its PyTorch twin on a GPU.

`python -m benchmarks.training_step` times an iteration of `configs/sysu_image.py` (8 identities x 2 modalities x
2 shots) against `benchmarks/torch_twin`. Both start from the same weights and take turns, round by round. It prints
images/s (medians), their ratio, and peak memory if the backend measures it. It also counts the step's FLOPs and bytes
and compares them with the measured rates of a matrix product and of a copy, which are this machine's limit.
`--stage teacher` times the teacher's iteration, `two_stream` and `embedding` those of the embedding-space system,
`agw`, `caj`, `rle` and `deen` those of the two-stem systems, `one_stream` that of zero-padding, `sdl`, `hicmd` and
`cmgan` those of the systems of these names, `generation` and `cmpig` those of cmPIG's two stages. Only the image stage
and the teacher have a twin.

On both sides the batch is already on the device. This package gets uint8 images and augments them within the step. The
twin gets augmented images, pairs and random decisions that were made beforehand, which favours it. On a GPU the twin
runs with bf16 autocast, channels_last and torch.compile, and the targets are: ratio 2.0, 35% of the matrix product's
rate, less memory than the twin. On a CPU both sides run in float32 and the ratio is only reported. `--size 80 40
--width-divisor 8` takes a short time on any machine. Without PyTorch there is no twin to compare with. `--trace DIR`
writes a profile of two more iterations, for ui.perfetto.dev or TensorBoard; `--json FILE` writes the figures.
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
TRACED = 2  # iterations; on a CPU the profile of one takes more than ten MiB
TARGETS = {"ratio": 2.0, "share_of_matrix_rate": 0.35}


def main():
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory as well
    compilation.prepare()
    arguments, config = parse()
    stage, states = initialised(config, arguments.stage)
    batch = random_batch(stage)
    size, unit = batch["camera"].size, "embeddings" if stage.reads else "images"
    environment = {
        "machine": machine(),
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "versions": versions("numpy", "jax", "jaxlib", "torch"),
    }
    print("; ".join(environment.values()))
    image_size = "" if stage.reads else f" of {config.image_size}"
    print(f"stage {arguments.stage}, preset {arguments.preset or 'default'}, {size} {unit}{image_size}, {config.dtype}")

    ours = Iteration(stage, states[arguments.stage], batch)
    sides: dict[str, Callable[[int], float]] = {"ours": ours.round}
    if arguments.stage in WITH_TWIN and find_spec("torch"):
        compiled = on_gpu() if arguments.torch_compile is None else arguments.torch_compile
        sides = {"twin": twin(config, arguments.stage, states, batch, compiled)} | sides
    first = {name: run(1) for name, run in sides.items()}
    for run in sides.values():
        run(arguments.steps)
    rates = {name: lambda run=run: size * arguments.steps / run(arguments.steps) for name, run in sides.items()}
    rounds = in_turn(rates, arguments.rounds)
    rate = medians(rounds)
    peak = {"ours": ours.peak_memory()} | ({"twin": twin_peak_memory()} if "twin" in rate else {})
    for name in rate:
        memory = f"peak memory {peak[name] / 2**30:.2f} GiB" if peak[name] else "peak memory not measured"
        print(f"{name:6}{rate[name]:10.2f} {unit}/s   first step {first[name]:6.1f} s   {memory}")
    measured = {"rounds": rounds, f"{unit}_per_second": rate, "first_step_s": first, "peak_bytes": peak}
    if "twin" in rate:
        measured["ratio"] = rate["ours"] / rate["twin"]
        print(f"ratio {measured['ratio']:.2f} (target on a GPU {TARGETS['ratio']})")
    else:
        print("PyTorch is not installed" if arguments.stage in WITH_TWIN else "this stage has no PyTorch twin", end="")
        print(": there is nothing to compare with.")
    measured |= against_the_limit(ours, size / rate["ours"], config.dtype)
    if arguments.trace:
        with jax.profiler.trace(arguments.trace):
            ours.round(TRACED)
        size_of_trace = sum(path.stat().st_size for path in Path(arguments.trace).rglob("*") if path.is_file())
        print(f"{arguments.trace} contains the profile of {TRACED} iterations, {size_of_trace / 2**20:.1f} MiB")
    keep(arguments.json, environment | vars(arguments) | {"dtype": config.dtype} | measured)


def parse():
    """Returns the arguments and the recipe that they select."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=tuple(RECIPES), default="image")
    parser.add_argument("--preset", help="Preset of the stage's recipe in configs/; default: the recipe's own.")
    parser.add_argument("--size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help="Default: the recipe's own.")
    parser.add_argument("--width-divisor", type=int, default=1, help="Divides the widths of all networks.")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="Default: bfloat16 on a GPU, float32 on a CPU."
    )
    parser.add_argument(
        "--torch-compile", action=argparse.BooleanOptionalAction, help="Default: on a GPU yes, on a CPU no."
    )
    parser.add_argument("--rounds", type=int, default=5, help="Number of rounds per side; the median counts.")
    parser.add_argument("--steps", type=int, default=10, help="Number of iterations per round.")
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
    """Prints and returns the step's work, the time that it takes at this machine's rates, and the share reached."""
    flops, accessed, ceilings = ours.flops(), ours.bytes_accessed(), limit.ceilings(dtype)
    product, copy = ceilings["matrix_flops"], ceilings["copy_bytes"]
    at_ceiling = {"operations": flops / jax.local_device_count() / product, "bytes": accessed / copy}
    share = at_ceiling["operations"] / seconds
    print(f"ceilings     {product:.3e} FLOP/s (matrix product), {copy:.3e} B/s (copy)")
    print(f"operations   {flops:.3e} FLOPs: {at_ceiling['operations']:.4f} s at the matrix product's rate")
    print(
        f"bytes        {accessed:.3e} by XLA's count: {at_ceiling['bytes']:.4f} s at the copy's rate, if no cache helps"
    )
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
    """Makes the twin; returns a function that runs some of its iterations and returns the seconds that they took."""
    import torch

    from benchmarks.torch_twin.training import ClassifierTwin, ImageTwin

    device = "cuda" if on_gpu() and torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")  # TF32, as JAX has it
    torch.backends.cudnn.benchmark = True
    options = {"device": device, "bfloat16": config.dtype == "bfloat16", "compiled": compiled}
    teacher = ClassifierTwin(config.teacher, CLASSES, **options)
    teacher.load(states["teacher"])
    system = ImageTwin(config.image, CLASSES, teacher, **options) if name == "image" else None
    if system:
        system.load(states["image"])

    images = np.array(augment.normalise(batch["image"].reshape(-1, *batch["image"].shape[3:])))
    x = torch.from_numpy(images).permute(0, 3, 1, 2).to(device, memory_format=torch.channels_last)
    identities, modalities, shots = batch["image"].shape[:3]
    erased = x.flip(3)  # any other images
    y = torch.from_numpy(batch["label"]).long().repeat_interleave(modalities * shots).to(device)
    partner = torch.arange(identities * modalities, device=device).roll(modalities)
    coin = torch.Generator().manual_seed(0)

    def step():
        if system:
            system.step(x, erased, y, partner, bool(torch.rand((), generator=coin) < 0.5), shots)
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
    """Returns PyTorch's peak memory in bytes, or None on a CPU."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


if __name__ == "__main__":
    main()
