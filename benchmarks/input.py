"""Claim: tf.data gives batches at least 2 times, memory 20 times as fast as a DataLoader with Pillow.

`python -m benchmarks.input --data_dir DIR` fetches the same batches (8 identities x 2 modalities x 2 images of 256x128)
in three ways: through tf.data from the prepared dataset, from the dataset in memory, and through a PyTorch DataLoader
whose workers decode and resize the files with Pillow. It prints images/s (medians of rounds in which the three take
turns) and ratios. No side augments its images. In this package the device does that, so the comparison favours the
DataLoader.

DIR is a tree of SYSU-MM01, real or drawn, with 8 training identities or more. The time to open a source includes the
import of TensorFlow and, the first time, the preparation of the dataset. Without PyTorch there is no DataLoader to
compare with. `--json FILE` writes the figures.

`python -m benchmarks.input --images 45000,450000` measures something else: how much memory both sources need for
datasets of these sizes, and how fast they are then. It writes drawn datasets into `--prepared_dir` and removes them.
`--height 64` sets the size of their images; twice the datasets' bytes must fit on that disk. For each source and size
it prints images/s, once with the prepared files in the system's memory and once without, and the peak of a process's
memory: all of it, what the imports take, and at the end the part that is pages of files. Linux only.
"""

import itertools
import os
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.large_sets import measured
from benchmarks.machine import keep, machine, versions
from benchmarks.sources import opened
from benchmarks.timing import in_turn, medians
from rgbir_jax.data.decoding import decode
from rgbir_jax.data.sampling import IdentitySampler
from rgbir_jax.data.source import batches
from rgbir_jax.datasets import SYSU_MM01

DATA_DIR = flags.DEFINE_string("data_dir", None, "Tree of SYSU-MM01.")
IMAGES = flags.DEFINE_list("images", None, "Instead of data_dir: sizes of drawn datasets whose memory is measured.")
HEIGHT = flags.DEFINE_integer("height", 64, "With images: the height of the images, twice their width.")
flags.mark_flags_as_mutual_exclusive(["data_dir", "images"], required=True)
PREPARED_DIR = flags.DEFINE_string("prepared_dir", "", "Folder for decoded images; empty: next to data_dir.")
WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Number of the DataLoader's processes.")
BATCHES = flags.DEFINE_integer("batches", 50, "Number of batches that a round times, after as many that it does not.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Number of rounds; the median counts.")
JSON = flags.DEFINE_string("json", None, "File to write the figures to.")

IMAGE_SIZE = (256, 128)
TARGETS = {"tf_data": 2, "memory": 20}


def main(argv):
    del argv
    packages = ("numpy", "pillow", "tensorflow-cpu", "tensorflow-datasets", "array-record", "torch")
    environment = {"machine": machine(), "versions": versions(*packages)}
    if IMAGES.value:
        large(environment)
    else:
        compare(environment)


def large(environment):
    """Measures memory and speed on datasets of the given sizes."""
    size = (HEIGHT.value, HEIGHT.value // 2)
    print("; ".join([*environment.values(), f"images of {size[0]}x{size[1]}"]))
    sets = {}
    for images in map(int, IMAGES.value):
        sets[images] = measured(images, size, BATCHES.value, ROUNDS.value, PREPARED_DIR.value or None)
        for (name, source), state in itertools.product(sets[images].items(), ("warm", "cold")):
            run = source[state]
            print(
                f"{images:9,} images {name:8} {state} {run['images_per_second']:8,.0f} images/s; peak "
                f"{run['peak_MiB']:6,.0f} MiB (imports {run['imported_MiB']:,.0f}, pages {run['mapped_MiB']:,.0f}); "
                f"opened in {run['opening_s']:5.1f} s, prepared in {source['preparation']['opening_s']:6.0f} s"
            )
    command = (
        f"python -m benchmarks.input --images {','.join(IMAGES.value)} --height {HEIGHT.value} "
        f"--batches {BATCHES.value} --rounds {ROUNDS.value}"
    )
    keep(JSON.value, {"command": command} | environment | {"image_size": size, "sets": sets})


def compare(environment):
    """Compares both sources with a DataLoader."""
    records = SYSU_MM01.read(Path(DATA_DIR.value))
    sampler = IdentitySampler(records, SYSU_MM01.rows(records, "train"), identities=8, shots=2)
    streams, opening = {}, {}
    for name in TARGETS:
        start = time.perf_counter()
        source = opened(name, DATA_DIR.value, PREPARED_DIR.value, IMAGE_SIZE)
        streams[name] = (batch["image"] for batch in batches(source, sampler))
        opening[name] = time.perf_counter() - start
    if find_spec("torch"):
        streams["DataLoader"] = data_loader(records, sampler)

    rounds = in_turn({name: partial(images_per_second, images) for name, images in streams.items()}, ROUNDS.value)
    rates = medians(rounds)

    print("; ".join([*environment.values(), f"{len(records):,} images"]))
    for name, rate in rates.items():
        ratio = f"{rate / rates['DataLoader']:6.1f} x" if "DataLoader" in rates else ""
        target = f"(target {TARGETS[name]}; opened in {opening[name]:.1f} s)" if name in TARGETS else ""
        print(f"{name:12}{rate:10,.0f} images/s {ratio} {target}")
    if "DataLoader" not in rates:
        print("PyTorch is not installed: there is no DataLoader to compare with.")
    figures = {"images": len(records), "opening_s": opening, "images_per_second": rates, "rounds": rounds}
    keep(JSON.value, environment | figures)


def images_per_second(images):
    """Measures one round. It first uses up the batches that were fetched ahead of the round."""
    for _ in range(BATCHES.value):
        next(images)
    start = time.perf_counter()
    fetched = sum(np.prod(next(images).shape[:-3]) for _ in range(BATCHES.value))
    return fetched / (time.perf_counter() - start)


class Files:
    """Decodes and resizes image files; the DataLoader's workers index it."""

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, row):
        return decode(self.paths[row], IMAGE_SIZE).copy()  # PyTorch warns of arrays that cannot be written


class Rows:
    """Lists the sampler's batches, without end, in the form that a DataLoader needs."""

    def __init__(self, sampler):
        self.sampler = sampler

    def __iter__(self):
        return (self.sampler(step).ravel().tolist() for step in itertools.count())


def data_loader(records, sampler):
    import torch

    files = Files([os.path.join(DATA_DIR.value, path) for path in records.path])
    return iter(
        torch.utils.data.DataLoader(
            files,  # pyright: ignore[reportArgumentType] (anything with a length and items works)
            batch_sampler=Rows(sampler),
            num_workers=WORKERS.value,
            prefetch_factor=4,
            multiprocessing_context="spawn",  # a fork would copy TensorFlow's threads
        )
    )


if __name__ == "__main__":
    app.run(main)
