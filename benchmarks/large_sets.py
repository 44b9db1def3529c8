"""Measures both sources on datasets of any size: peak memory, images/s and seconds to prepare them.

`benchmarks.input --images N` calls it. A dataset of N images is a tree of hard links to a thousand drawn images, so it
is read and prepared as a real one. Each measurement has a process of its own, with the peak memory of one source:

    python -m benchmarks.large_sets SOURCE TREE PREPARED HEIGHT WIDTH BATCHES
"""

import importlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.sources import opened
from benchmarks.timing import medians
from rgbir_jax import synthetic
from rgbir_jax.data.sampling import IdentitySampler
from rgbir_jax.data.source import batches
from rgbir_jax.datasets import SYSU_MM01

DRAWN_PEOPLE = 20  # with 51 images each on average
SOURCES = ("tf_data", "memory")
STATES = ("warm", "cold")


def measured(images: int, size: tuple[int, int], fetched: int, rounds: int, folder: str | None) -> dict:
    """Measures both sources in turn on a dataset of `images` images.

    Args:
        images: the number of images.
        size: their (height, width) in pixels.
        fetched: the number of batches that a process fetches.
        rounds: the number of processes per source; medians count.
        folder: where the dataset is written, and removed at the end; None: the system's folder for such files.

    Returns:
        By source, "warm" (the prepared files are in the system's memory) and "cold" (they are not): the medians of what
        `stream` returns. "preparation" has what it returns while the dataset is not prepared yet.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        tree, prepared = Path(place, "tree"), Path(place, "prepared")
        link(tree, images, size)
        figures = {name: {"preparation": in_process(name, tree, prepared, size, fetched)} for name in SOURCES}
        results = {name: {"warm": [], "cold": []} for name in SOURCES}
        for _, name, state in itertools.product(range(rounds), SOURCES, STATES):
            if state == "warm":
                remember(prepared, name)
            else:
                forget(prepared)
            results[name][state].append(in_process(name, tree, prepared, size, fetched))
    for name, state in itertools.product(SOURCES, STATES):
        runs = results[name][state]
        figures[name][state] = medians({figure: [run[figure] for run in runs] for figure in runs[0]})
    return figures


def link(tree: Path, images: int, size: tuple[int, int]) -> None:
    """Writes a tree of SYSU-MM01 whose images are hard links to those of a few drawn people."""
    drawn = tree.with_name("drawn")
    plan = synthetic.sysu_plan(DRAWN_PEOPLE - 2, 1, 1, images=10, seed=0)
    synthetic.write(plan, drawn, seed=0, size=size, arguments={}, workers=0)
    files = sorted((path.relative_to(drawn) for path in drawn.glob("cam*/*/*.jpg")), key=lambda path: path.parts[1:])
    for number in range(images):
        copy, file = divmod(number, len(files))
        camera, person, name = files[file].parts
        path = tree / camera / f"{int(person) + copy * DRAWN_PEOPLE:04}" / name
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        os.link(drawn / files[file], path)
    people = sorted({int(path.name) for path in tree.glob("cam*/*")})  # the last one does not have all images
    (tree / "exp").mkdir()
    for split, ids in {"train": people[1:-1], "val": people[:1], "test": people[-1:]}.items():
        (tree / "exp" / f"{split}_id.txt").write_text(",".join(map(str, ids)))


def in_process(name: str, tree: Path, prepared: Path, size: tuple[int, int], fetched: int) -> dict[str, float]:
    """Runs `stream` in a new process."""
    command = [sys.executable, "-m", "benchmarks.large_sets", *map(str, (name, tree, prepared, *size, fetched))]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def stream(name: str, tree: str, prepared: str, size: tuple[int, int], fetched: int) -> dict[str, float]:
    """Opens a source and fetches batches: 8 identities x 2 modalities x 2 images.

    Returns:
        `opening_s`; `images_per_second` and `cpu_us_per_image` (microseconds of all cores, which other programs disturb
        less), without the first tenth of the batches; and resident memory in MiB: `imported_MiB` before the dataset's
        table is read, `peak_MiB`, and at the end `own_MiB` and `mapped_MiB`, which are pages of files that the system
        can take back.
    """
    importlib.import_module(f"rgbir_jax.data.{name}")
    imported = memory()["VmHWM"]
    start = time.perf_counter()
    source = opened(name, tree, prepared, size)
    opening = time.perf_counter() - start
    sampler = IdentitySampler(source.records, SYSU_MM01.rows(source.records, "train"), identities=8, shots=2)
    stream_of_batches = batches(source, sampler)
    for _ in range(fetched // 10):
        next(stream_of_batches)
    start, start_cpu = time.perf_counter(), time.process_time()
    count = sum(next(stream_of_batches)["image"][..., 0, 0, 0].size for _ in range(fetched - fetched // 10))
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    end = memory()
    return {
        "opening_s": opening,
        "images_per_second": count / seconds,
        "cpu_us_per_image": 1e6 * cpu / count,
        "imported_MiB": imported,
        "peak_MiB": end["VmHWM"],
        "own_MiB": end["RssAnon"],
        "mapped_MiB": end["RssFile"],
    }


def memory() -> dict[str, float]:
    """Returns the resident memory of this process in MiB, by Linux's names."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {line[0].rstrip(":"): int(line[1]) / 2**10 for line in lines if line[0].startswith(("VmHWM", "Rss"))}


def forget(folder: Path) -> None:
    """Takes the files of a folder out of the system's memory."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def remember(folder: Path, name: str) -> None:
    """Reads what a source has prepared, so that it is in the system's memory if it fits there."""
    pattern = {"tf_data": "*.array_record-*", "memory": "*.npy"}[name]
    for path in folder.rglob(pattern):
        with path.open("rb") as file:
            while file.read(2**24):
                pass


if __name__ == "__main__":
    name, tree, prepared, height, width, fetched = sys.argv[1:]
    print(json.dumps(stream(name, tree, prepared, (int(height), int(width)), int(fetched))))
