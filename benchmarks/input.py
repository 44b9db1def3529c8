"""Claim: tf.data gives batches at least 2 times, memory 20 times as fast as a DataLoader with Pillow.

`python -m benchmarks.input --data_dir DIR` fetches the same batches, 8 identities x 2 modalities x 2 images
of 256x128, in three ways: through tf.data from the prepared set, from the set held in memory, and through a
PyTorch DataLoader whose workers decode and resize the files with Pillow. It prints images/s (medians of
rounds in turn) and ratios. Nobody augments: here that is the device's work, which favours the DataLoader.
Opening includes TensorFlow's import and, the first time, the preparation. DIR is a tree of SYSU-MM01, real or
drawn, with 8 training identities or more. Without PyTorch its row is left out. `--json FILE` writes the
figures.
"""

import itertools
import os
import time
from functools import partial
from importlib.util import find_spec

import numpy as np
from absl import app, flags

from benchmarks.machine import keep, machine, versions
from benchmarks.sources import opened
from benchmarks.timing import in_turn, medians
from rgbir_jax.data.decoding import decode
from rgbir_jax.data.layouts import read_sysu_mm01
from rgbir_jax.data.sampling import IdentitySampler

DATA_DIR = flags.DEFINE_string("data_dir", None, "Tree of SYSU-MM01.", required=True)
PREPARED_DIR = flags.DEFINE_string("prepared_dir", "", "Where decoded images are kept; empty: beside data_dir.")
WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes of the DataLoader.")
BATCHES = flags.DEFINE_integer("batches", 50, "Batches of a round, after as many that are not timed.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of each way, of which the median counts.")
JSON = flags.DEFINE_string("json", None, "File to write the measurements to.")

IMAGE_SIZE = (256, 128)
TARGETS = {"tfds": 2, "memory": 20}


def main(argv):
    del argv
    where = {"machine": machine(), "versions": versions("numpy", "pillow", "tensorflow-cpu", "torch")}
    records = read_sysu_mm01(DATA_DIR.value)
    sampler = IdentitySampler(records, np.flatnonzero(records.split == "train"), identities=8, shots=2)
    ways, opening = {}, {}
    for name in TARGETS:
        start = time.perf_counter()
        source = opened(name, DATA_DIR.value, PREPARED_DIR.value, IMAGE_SIZE)
        ways[name] = (batch["image"] for batch in source.batches(sampler))
        opening[name] = time.perf_counter() - start
    if find_spec("torch"):
        ways["DataLoader"] = data_loader(records, sampler)

    rounds = in_turn({name: partial(images_per_second, images) for name, images in ways.items()}, ROUNDS.value)
    rates = medians(rounds)

    print("; ".join([*where.values(), f"{len(records):,} images"]))
    for name, rate in rates.items():
        ratio = f"{rate / rates['DataLoader']:6.1f} x" if "DataLoader" in rates else ""
        target = f"(target {TARGETS[name]}; opened in {opening[name]:.1f} s)" if name in TARGETS else ""
        print(f"{name:12}{rate:10,.0f} images/s {ratio} {target}")
    if "DataLoader" not in rates:
        print("PyTorch is not installed: no DataLoader to compare with.")
    figures = {"images": len(records), "opening_s": opening, "images_per_second": rates, "rounds": rounds}
    keep(JSON.value, where | figures)


def images_per_second(images):
    """Of one round; what was fetched ahead of it is used up first."""
    for _ in range(BATCHES.value):
        next(images)
    start = time.perf_counter()
    fetched = sum(np.prod(next(images).shape[:-3]) for _ in range(BATCHES.value))
    return fetched / (time.perf_counter() - start)


class Files:
    """The dataset that the DataLoader's workers index: one decoded and resized image a path."""

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, row):
        return decode(self.paths[row], IMAGE_SIZE).copy()  # PyTorch warns of arrays that cannot be written


class Rows:
    """The sampler's batches as the DataLoader wants them, without end."""

    def __init__(self, sampler):
        self.sampler = sampler

    def __iter__(self):
        return (self.sampler(step).ravel().tolist() for step in itertools.count())


def data_loader(records, sampler):
    import torch

    files = Files([os.path.join(DATA_DIR.value, path) for path in records.path])
    return iter(
        torch.utils.data.DataLoader(
            files,  # pyright: ignore[reportArgumentType] (whatever has a length and items will do)
            batch_sampler=Rows(sampler),
            num_workers=WORKERS.value,
            prefetch_factor=4,
            multiprocessing_context="spawn",  # a fork would copy TensorFlow's threads
        )
    )


if __name__ == "__main__":
    app.run(main)
