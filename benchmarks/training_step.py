"""Claim: one compiled iteration trains at least 2.0 times the images/s of its PyTorch twin on a GPU.

`python -m benchmarks.training_step` times an iteration of `configs/sysu_image.py` (8 identities x 2 modalities x
2 shots) against `benchmarks/torch_twin`, from the same weights, in rounds in turn, and prints images/s (medians),
their ratio, the FLOPs of the compiled step, their rate as a share of this machine's own matrix product, and peak
memory where the backend tells it. `--stage teacher` times the teacher's iteration, `--preset dgnet` the other preset.

The batch lies on the device on both sides. Ours is uint8 and is augmented within the step; the twin is given images
that are augmented already, its pairs and its coin, which favours it. On a GPU the twin runs with bf16 autocast,
channels_last and torch.compile. Targets there: ratio 2.0, 35% of the matrix rate, less memory than the twin. On a CPU
both run in float32 and the ratio is only reported. `--size 80 40 --width-divisor 8` is soon done anywhere.
Without PyTorch the twin's row is left out. `--json FILE` writes the figures.
"""

import argparse
import os
import statistics
import time
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.machine import keep, machine, versions
from configs import sysu_image
from rgbir_jax import stages
from rgbir_jax.data import augment
from rgbir_jax.training import compilation, parallel

CLASSES = 395  # SYSU-MM01's training identities
TARGETS = {"ratio": 2.0, "share_of_matrix_rate": 0.35}


def main():
    arguments = parse()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory beside JAX
    compilation.use_cache()
    on_gpu = jax.default_backend() != "cpu"
    config = recipe(arguments, arguments.dtype or ("bfloat16" if on_gpu else "float32"))
    images = config.batch.identities * len(config.modalities) * config.batch.shots
    print(f"{machine()}, {jax.devices()[0].device_kind}; {versions('numpy', 'jax', 'jaxlib', 'torch')}")
    print(f"stage {arguments.stage}, preset {arguments.preset}, {images} images of {config.image_size}, {config.dtype}")

    stage, states = initialised(config, arguments.stage)
    batch = random_batch(config)
    ways, ours = {}, Ours(stage, states[arguments.stage], batch)
    if find_spec("torch"):
        compiled = on_gpu if arguments.torch_compile is None else arguments.torch_compile
        ways["twin"] = twin(config, arguments.stage, states, batch, on_gpu, compiled)
    ways["ours"] = ours.round
    first = {name: round_of(1) for name, round_of in ways.items()}
    for round_of in ways.values():
        round_of(arguments.steps)
    rounds = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, round_of in ways.items():
            rounds[name].append(images * arguments.steps / round_of(arguments.steps))
    rate = {name: statistics.median(values) for name, values in rounds.items()}

    flops, ceilings = ours.flops(), measured_ceilings(config.dtype)
    achieved = flops * rate["ours"] / images
    peak = {"ours": ours.peak_memory()} | ({"twin": twin_peak_memory()} if "twin" in ways else {})
    for name in ways:
        memory = f"peak memory {peak[name] / 2**30:.2f} GiB" if peak[name] else "peak memory not told"
        print(f"{name:6}{rate[name]:10.2f} images/s   first step {first[name]:6.1f} s   {memory}")
    print(f"the step has {flops:.3e} FLOPs, done at {achieved:.3e} FLOP/s")
    print(
        f"ceilings     {ceilings['matrix_flops']:.3e} FLOP/s (matrix product), {ceilings['copy_bytes']:.3e} B/s (copy)"
    )
    share = achieved / (ceilings["matrix_flops"] * jax.local_device_count())
    print(f"share of the matrix product's rate {share:6.1%} (target on a GPU {TARGETS['share_of_matrix_rate']:.0%})")
    measured = {"rounds": rounds, "images_per_second": rate, "first_step_s": first, "peak_bytes": peak, **ceilings}
    measured |= {"flops_per_step": flops, "flop_per_second": achieved, "share_of_matrix_rate": share}
    if "twin" in rate:
        measured["ratio"] = rate["ours"] / rate["twin"]
        print(f"ratio {measured['ratio']:.2f} (target on a GPU {TARGETS['ratio']})")
    else:
        print("PyTorch is not installed: no twin to compare with.")
    where = {
        "machine": machine(),
        "device": jax.devices()[0].device_kind,
        "versions": versions("numpy", "jax", "torch"),
    }
    keep(arguments.json, where | vars(arguments) | {"dtype": config.dtype} | measured)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=("paper", "dgnet"), default="paper")
    parser.add_argument("--stage", choices=("image", "teacher"), default="image")
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
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def recipe(arguments, dtype: str) -> ConfigDict:
    """`configs/sysu_image.py` at the size that is asked for."""
    config = sysu_image.get_config(arguments.preset)
    config.dtype, config.image_size = dtype, tuple(arguments.size)
    for name in config.recipe:
        networks = config[name].networks
        networks.E_a.width //= arguments.width_divisor
        networks.head.bottleneck //= arguments.width_divisor
    networks.E_s.update({name: width // arguments.width_divisor for name, width in networks.E_s.items()})
    networks.G.mlp //= arguments.width_divisor
    networks.D.width //= arguments.width_divisor
    return config


def initialised(config: ConfigDict, name: str):
    """(the stage, random states by stage on the host, up to that of the stage)."""
    states = {}
    for earlier in config.recipe:
        stage = stages.build(config, earlier, CLASSES)
        states[earlier] = jax.device_get(jax.jit(stage.init)(jax.random.key(0), states))
        if earlier == name:
            return stage, states
    raise ValueError(f"the recipe has no stage {name}.")


def random_batch(config: ConfigDict) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shape = (config.batch.identities, len(config.modalities), config.batch.shots)
    return {
        "image": generator.integers(0, 256, (*shape, *config.image_size, 3), np.uint8),
        "label": generator.permutation(CLASSES)[: config.batch.identities].astype(np.int32),
        "camera": np.ones(shape, np.int32),
    }


class Ours:
    """The compiled iteration with its donated state and a batch that stays on the device."""

    def __init__(self, stage, state, batch):
        self.stage, self.on_host = stage, (state, batch)
        self.step = parallel.pmap(stage.train_step)
        self.state, self.batch, self.key = parallel.replicate(state), parallel.shard(batch), jax.random.key(1)

    def round(self, steps):
        """Seconds; waits once, at the end."""
        start = time.perf_counter()
        for _ in range(steps):
            self.state, metrics = self.step(self.state, self.batch, self.key)
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - start

    def flops(self):
        """Of the step compiled for a CPU, whatever it is timed on: a GPU's library calls are not counted by XLA."""
        cpu = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
        state, batch = self.on_host
        arguments = (state, jax.tree.map(lambda x: x[None], batch), jax.eval_shape(jax.random.key, 0))
        arguments = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=cpu), arguments)
        step = jax.jit(jax.vmap(self.stage.train_step, (None, 0, None), axis_name=parallel.AXIS))
        return step.lower(*arguments).compile().cost_analysis()["flops"]

    def peak_memory(self):
        """Bytes on the first device, or None."""
        told = jax.local_devices()[0].memory_stats()
        return told and told.get("peak_bytes_in_use")


def twin(config, name, states, batch, on_gpu, compiled):
    """A function of the number of iterations that gives the seconds they take."""
    import torch

    from benchmarks.torch_twin.training import ClassifierTwin, ImageTwin

    device = "cuda" if on_gpu and torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")  # TF32, as JAX has it
    torch.backends.cudnn.benchmark = True
    how = {"device": device, "bfloat16": config.dtype == "bfloat16", "compiled": compiled}
    model = ClassifierTwin(config.teacher, CLASSES, **how)
    model.load(states["teacher"])
    if name == "image":
        model = ImageTwin(config.image, CLASSES, model, **how)
        model.load(states["image"])

    images = np.array(augment.normalise(batch["image"].reshape(-1, *batch["image"].shape[3:])))
    x = torch.from_numpy(images).permute(0, 3, 1, 2).to(device, memory_format=torch.channels_last)
    identities, modalities, shots = batch["image"].shape[:3]
    erased = x.flip(3)  # any other images
    y = torch.from_numpy(batch["label"]).long().repeat_interleave(modalities * shots).to(device)
    lender = torch.arange(identities * modalities, device=device).roll(modalities)
    coin = torch.Generator().manual_seed(0)

    def step():
        if name == "teacher":
            return model.step(x, y)
        return model.step(x, erased, y, lender, bool(torch.rand((), generator=coin) < 0.5), shots)

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


def measured_ceilings(dtype: str) -> dict[str, float]:
    """What one device reaches: FLOP/s in a matrix product of `dtype`, bytes read and written a second in a copy."""
    on_gpu = jax.default_backend() != "cpu"
    side, copied = (8192, 2**28) if on_gpu else (2048, 2**26)
    a = jnp.ones((side, side), dtype)
    product = jax.jit(lambda a: a @ a)
    vector = jnp.ones(copied, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    return {
        "matrix_flops": 2 * side**3 / fastest(lambda: product(a)),
        "copy_bytes": 2 * vector.nbytes / fastest(lambda: copy(vector)),
    }


def fastest(function, repeats=10):
    """Seconds of the best of some runs: a ceiling is not a median."""
    jax.block_until_ready(function())
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
