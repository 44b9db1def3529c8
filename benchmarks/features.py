"""Measures how many images/s a device turns into retrieval features, against PyTorch; a figure without a target.

`python -m benchmarks.features` extracts features of random images that lie in memory, each with its mirror image, as
scoring does it (`rgbir_jax.evaluation.features.extractor`): with the appearance encoder and head of
the teacher of `configs/sysu_image.py` (the image-space system's differ only in their pooling) and with the two-stream
network of `configs/sysu_two_stream.py`, at full size, in float32 and bfloat16. The first half of the images is RGB, the
other IR, as scoring sorts them by camera.

The yardstick is `benchmarks/torch_twin` with the same weights, in evaluation mode, from the same uint8 images to the
same float32 features, with channels_last, autocast for bfloat16 and on a GPU torch.compile; a stream's twin is the
appearance encoder without its codes. Rounds are in turn, medians are printed, and how far features of both sides lie
apart; the ratio is of images/s a device. `--size 80 40 --width-divisor 8 --images 64 --batch-size 16` is soon
done anywhere. Without PyTorch the yardstick is left out. `--json FILE` writes the figures.
"""

import argparse
import os
import time
from importlib.util import find_spec
from types import SimpleNamespace

import jax
import numpy as np

from benchmarks.machine import keep, machine, versions
from benchmarks.timing import in_turn, medians
from benchmarks.workload import initialised, recipe
from rgbir_jax.data import augment
from rgbir_jax.evaluation.features import extractor
from rgbir_jax.training import compilation

NETWORKS = {"teacher": ("E_a", "E_a"), "two_stream": ("rgb", "ir")}  # a stage's trunks, by modality


def main():
    compilation.prepare()
    arguments = parse()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory beside JAX
    where = {
        "machine": machine(),
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "versions": versions("numpy", "jax", "jaxlib", "torch"),
    }
    print("; ".join(where.values()))
    size = tuple(arguments.size)
    print(f"{arguments.images:,} images of {size} and their mirror images, {arguments.batch_size} at a time")
    source = random_images(arguments.images, size)
    rows = [
        compare(name, dtype, source, arguments) | {"stage": name, "dtype": dtype}
        for name in arguments.stage
        for dtype in arguments.dtype
    ]
    if not find_spec("torch"):
        print("PyTorch is not installed: nothing to compare with.")
    keep(arguments.json, where | vars(arguments) | {"rows": rows})


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", nargs="+", choices=tuple(NETWORKS), default=tuple(NETWORKS))
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bfloat16"), default=("float32", "bfloat16"))
    parser.add_argument("--images", type=int, default=1024, help="Of a round.")
    parser.add_argument("--batch-size", type=int, default=128, help="Images at a time over all devices.")
    parser.add_argument("--size", nargs=2, type=int, default=(256, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--width-divisor", type=int, default=1, help="Divides the widths of all networks.")
    parser.add_argument("--rounds", type=int, default=5, help="Rounds of each side, of which the median counts.")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def random_images(count, size):
    """What `extractor` wants of a source: images by row, and their modalities."""
    images = np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)
    modality = (np.arange(count) >= count // 2).astype(np.int32)
    return SimpleNamespace(images=images.__getitem__, records=SimpleNamespace(modality=modality))


def compare(name, dtype, source, arguments):
    """Prints and returns images/s of both sides."""
    config = recipe(name, None, dtype, arguments.size, arguments.width_divisor)
    stage, states = initialised(config, name)
    rows, compiled = np.arange(arguments.images), extractor(stage, arguments.batch_size)
    ways = {"ours": lambda: compiled(states[name], source, rows)}
    if find_spec("torch"):
        ways["twin"] = twin(config[name].networks, name, states[name], source, dtype, arguments.batch_size)
    first = {way: extract() for way, extract in ways.items()}  # compiles

    def rate(extract):
        def measure():
            start = time.perf_counter()
            extract()
            return arguments.images / (time.perf_counter() - start)

        return measure

    rounds = in_turn({way: rate(extract) for way, extract in ways.items()}, arguments.rounds)
    images = medians(rounds)
    a_device = images["ours"] / jax.local_device_count()
    line = f"{name:11}{dtype:9} ours {images['ours']:9.1f} images/s, {a_device:9.1f} a device"
    found = {"images_per_second": images, "images_per_second_and_device": a_device, "rounds": rounds}
    if "twin" in images:
        found["ratio"] = a_device / images["twin"]
        found["largest_difference"] = float(np.max(np.abs(first["ours"] - first["twin"])))
        line += f"   twin {images['twin']:9.1f}   ratio {found['ratio']:.2f}"
        line += f"   largest difference {found['largest_difference']:.1e}"
    print(line)
    return found


def twin(networks, name, state, source, dtype, batch_size):
    """A function without arguments that gives the unit features of all images, as PyTorch extracts them."""
    import torch

    from benchmarks.torch_twin import weights
    from benchmarks.torch_twin.networks import AppearanceEncoder, IdentityHead

    device = "cuda" if jax.default_backend() != "cpu" and torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")  # TF32, as JAX has it
    torch.backends.cudnn.benchmark = True

    def loaded(network, called):
        weights.load(network, state.params[called], state.batch_stats[called])
        network = network.eval().to(device, memory_format=torch.channels_last)
        return torch.compile(network, dynamic=False) if device == "cuda" else network

    trunk = networks[{"teacher": "E_a", "two_stream": "stream"}[name]]
    pooled_by = {"pool": trunk.get("pool", "avg")}  # a stream averages
    trunks = {called: loaded(AppearanceEncoder(**(trunk.to_dict() | pooled_by)), called) for called in NETWORKS[name]}
    classes = len(state.params["head"]["classifier"]["bias"])
    head = loaded(IdentityHead(32 * trunk.width, classes, **networks.head), "head")
    mean, std = (torch.from_numpy(values).to(device)[:, None, None] for values in (augment.MEAN, augment.STD))
    modality = source.records.modality

    def unit_features(images, called):
        x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()
        x = ((x / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            _, pooled = trunks[called](torch.cat([x, x.flip(3)]))
            features, _ = head(pooled)
        both = features[: len(x)] + features[len(x) :]
        return torch.nn.functional.normalize(both).cpu().numpy()

    @torch.inference_mode()
    def extract():
        found = []
        for number, called in enumerate(NETWORKS[name]):
            rows = np.flatnonzero(modality == number)
            for start in range(0, len(rows), batch_size):
                found.append(unit_features(source.images(rows[start : start + batch_size]), called))
        return np.concatenate(found)

    return extract


if __name__ == "__main__":
    main()
