"""Measures how many images/s a device turns into retrieval features, against PyTorch; it has no target.

`python -m benchmarks.features` extracts features of random images in memory as scoring does, with each image's mirror
image (`rgbir_jax.inference.features.extractor`). It measures two networks at full size, in float32 and bfloat16: the
appearance encoder and head of the teacher of `configs/sysu_image.py` (those of the image-space system differ only in
pooling), and the two-stream network of `configs/sysu_two_stream.py`. The first half of the images is RGB and the second
half IR, because scoring sorts images by camera.

It compares them with `benchmarks/torch_twin` with the same weights, in evaluation mode, from the same uint8 images to
the same float32 features: channels_last, autocast for bfloat16, and torch.compile on a GPU. A stream's twin is the
appearance encoder without its codes. Both sides take turns. It prints the median images/s, the ratio per device, and
the largest difference between the features of both sides. `--size 80 40 --width-divisor 8 --images 64 --batch-size 16`
takes a short time on any machine. Without PyTorch there is nothing to compare with. `--json FILE` writes the figures.
"""

import argparse
import os
import time
from importlib.util import find_spec

import jax
import numpy as np

from benchmarks.machine import keep, machine, versions
from benchmarks.timing import in_turn, medians
from benchmarks.workload import initialised, recipe
from rgbir_jax.data import augment
from rgbir_jax.inference.features import extractor
from rgbir_jax.training import compilation

NETWORKS = {"teacher": ("E_a", "E_a"), "two_stream": ("rgb", "ir")}  # a stage's trunks, by modality


def main():
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory as well
    compilation.prepare()
    arguments = parse()
    environment = {
        "machine": machine(),
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "versions": versions("numpy", "jax", "jaxlib", "torch"),
    }
    print("; ".join(environment.values()))
    size = tuple(arguments.size)
    print(f"{arguments.images:,} images of {size} and their mirror images, {arguments.batch_size} at a time")
    images, modality = random_images(arguments.images, size)
    rows = [
        compare(name, dtype, images, modality, arguments) | {"stage": name, "dtype": dtype}
        for name in arguments.stage
        for dtype in arguments.dtype
    ]
    if not find_spec("torch"):
        print("PyTorch is not installed: there is nothing to compare with.")
    keep(arguments.json, environment | vars(arguments) | {"rows": rows})


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", nargs="+", choices=tuple(NETWORKS), default=tuple(NETWORKS))
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bfloat16"), default=("float32", "bfloat16"))
    parser.add_argument("--images", type=int, default=1024, help="Number of images per round.")
    parser.add_argument("--batch-size", type=int, default=128, help="Number of images at a time over all devices.")
    parser.add_argument("--size", nargs=2, type=int, default=(256, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--width-divisor", type=int, default=1, help="Divides the widths of all networks.")
    parser.add_argument("--rounds", type=int, default=5, help="Number of rounds per side; the median counts.")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def random_images(count, size):
    """Draws images and their modalities: the first half RGB, the second half IR."""
    images = np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)
    return images, (np.arange(count) >= count // 2).astype(np.int32)


def compare(name, dtype, images, modality, arguments):
    """Prints and returns images/s of both sides."""
    config = recipe(name, None, dtype, arguments.size, arguments.width_divisor)
    stage, states = initialised(config, name)
    extract = extractor((stage,), arguments.batch_size)
    sides = {"ours": lambda: extract((states[name],), images.__getitem__, modality)}
    if find_spec("torch"):
        networks = config[name].networks
        sides["twin"] = twin(networks, name, states[name], images, modality, dtype, arguments.batch_size)
    features = {side: run() for side, run in sides.items()}  # compiles

    def rate(run):
        def measure():
            start = time.perf_counter()
            run()
            return arguments.images / (time.perf_counter() - start)

        return measure

    rounds = in_turn({side: rate(run) for side, run in sides.items()}, arguments.rounds)
    rates = medians(rounds)
    per_device = rates["ours"] / jax.local_device_count()
    line = f"{name:11}{dtype:9} ours {rates['ours']:9.1f} images/s, {per_device:9.1f} per device"
    figures = {"images_per_second": rates, "images_per_second_and_device": per_device, "rounds": rounds}
    if "twin" in rates:
        figures["ratio"] = per_device / rates["twin"]
        figures["largest_difference"] = float(np.max(np.abs(features["ours"] - features["twin"])))
        line += f"   twin {rates['twin']:9.1f}   ratio {figures['ratio']:.2f}"
        line += f"   largest difference {figures['largest_difference']:.1e}"
    print(line)
    return figures


def twin(networks, name, state, images, modality, dtype, batch_size):
    """Makes the twin; returns a function without arguments that extracts the unit features of all images."""
    import torch

    from benchmarks.torch_twin import weights
    from benchmarks.torch_twin.networks import AppearanceEncoder, IdentityHead

    device = "cuda" if jax.default_backend() != "cpu" and torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")  # TF32, as in JAX
    torch.backends.cudnn.benchmark = True

    def loaded(network, linen_name):
        weights.load(network, state.params[linen_name], state.batch_stats[linen_name])
        network = network.eval().to(device, memory_format=torch.channels_last)
        return torch.compile(network, dynamic=False) if device == "cuda" else network

    trunk = networks[{"teacher": "E_a", "two_stream": "stream"}[name]]
    options = trunk.to_dict() | {"pool": trunk.get("pool", "avg")}  # a stream averages
    trunks = {trunk_name: loaded(AppearanceEncoder(**options), trunk_name) for trunk_name in NETWORKS[name]}
    classes = len(state.params["head"]["classifier"]["bias"])
    head = loaded(IdentityHead(32 * trunk.width, classes, **networks.head), "head")
    mean, std = (torch.from_numpy(values).to(device)[:, None, None] for values in (augment.MEAN, augment.STD))

    def unit_features(batch, trunk_name):
        x = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float()
        x = ((x / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            _, pooled = trunks[trunk_name](torch.cat([x, x.flip(3)]))
            features, _ = head(pooled)
        both = features[: len(x)] + features[len(x) :]
        return torch.nn.functional.normalize(both).cpu().numpy()

    @torch.inference_mode()
    def extract():
        parts = []
        for number, trunk_name in enumerate(NETWORKS[name]):
            rows = np.flatnonzero(modality == number)
            for start in range(0, len(rows), batch_size):
                parts.append(unit_features(images[rows[start : start + batch_size]], trunk_name))
        return np.concatenate(parts)

    return extract


if __name__ == "__main__":
    main()
