"""Claim: a search among 100,000 drawn images takes less than 50 ms per query after loading.

`python -m benchmarks.search --drawn data/drawn_features.npz` draws 101,000 images of 8,334 people with six cameras,
computes their features with the model `drawn` that comes with the package, and keeps them in that file, which takes
half an hour on one core. The last 1,000 images are the queries. The gallery of a million has, besides the others,
vectors between those of two random images, (1 - w) a + w b with w in 0..0.5, scaled to unit length: no million images
are drawn. Every index is written to disk, and opened and searched in a fresh process, one query at a time, ten images
per list.

It prints and, with `--json FILE`, writes: seconds to build the index from the vectors, seconds to load it, memory of
the process after the search above that before loading (anonymous memory; and pages of files, which the system can take
back), milliseconds per query (median and 95th percentile; and of the processor, which other programs do not change),
and recall against the exact search: how often its first image is the first, and which share of its ten images is among
the ten. FAISS's own exact search is measured for comparison. The number of threads is the one that OMP_NUM_THREADS and
the allowed cores give. `--sizes 1000 15000 --images 6000` takes a short time.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

import rgbir_jax
from benchmarks.machine import keep, machine, versions
from rgbir_jax.inference.image_features import Features
from rgbir_jax.search import approximate, store
from rgbir_jax.search.index import open_index
from rgbir_jax.search.table import Table
from rgbir_jax.search.updating import with_faiss
from rgbir_jax.synthetic import SYSU_CAMERAS, Identity, Pose, draw

TOP, PEOPLE, AT_A_TIME = 10, 8334, 2048
KINDS = ("exact", *approximate.KINDS)


def main():
    arguments = parse()
    environment = {
        "machine": machine(),
        "cores used": len(os.sched_getaffinity(0)),
        "versions": versions("numpy", "faiss-cpu", "jax"),
    }
    print("; ".join(map(str, environment.values())))
    vectors, run = drawn_features(Path(arguments.drawn), arguments.images)
    query, gallery = vectors[-arguments.queries :], vectors[: -arguments.queries]
    rows = []
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            rows += compare(Path(folder), enlarged(gallery, size), query, run)
    keep(arguments.json, environment | {"images": arguments.images, "queries": arguments.queries, "rows": rows})


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawn", default="data/drawn_features.npz", metavar="FILE")
    parser.add_argument("--images", type=int, default=101_000, help="Number of images to draw.")
    parser.add_argument("--queries", type=int, default=1000, help="Number of these that are queries.")
    parser.add_argument("--sizes", type=int, nargs="+", default=(100_000, 1_000_000), help="Images in the galleries.")
    parser.add_argument("--folder", help="Where indexes are written; else the system's folder for temporary files.")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def drawn_features(path, count):
    """Returns the features of drawn images, and the fingerprint of their run; a kept file of as many is read."""
    if path.is_file():
        with np.load(path) as kept:
            if len(kept["feature"]) == count:
                return kept["feature"], str(kept["run"])
    model = rgbir_jax.load("drawn")
    parts = []
    for start in tqdm(range(0, count, AT_A_TIME), "drawing", unit_scale=AT_A_TIME, unit="image"):
        numbers = range(start, min(start + AT_A_TIME, count))
        infrared = [int(camera_of(number).infrared) for number in numbers]
        parts.append(
            model.features(np.stack([picture(number, model.facts.image_size) for number in numbers]), infrared)
        )
    features = Features.joined(parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    features.save(path)
    return np.asarray(features), features.run


def picture(number, size):
    """Draws image `number`, of person `number` % `PEOPLE`."""
    identity = Identity.random(np.random.default_rng([1, number % PEOPLE]))
    return draw(identity, Pose.random(np.random.default_rng([2, number])), camera_of(number), number, tuple(size))


def camera_of(number):
    return SYSU_CAMERAS[number // PEOPLE % len(SYSU_CAMERAS)]


def enlarged(gallery, size):
    """Returns a gallery of some size: the vectors that there are, and further ones between two of them."""
    generator = np.random.default_rng(0)
    more = max(size - len(gallery), 0)
    a, b = generator.integers(0, len(gallery), (2, more))
    weight = generator.uniform(0, 0.5, (more, 1)).astype(np.float32)
    between = (1 - weight) * gallery[a] + weight * gallery[b]
    between /= np.linalg.norm(between, axis=1, keepdims=True)
    return np.concatenate([gallery[:size], between])


def compare(folder, gallery, query, run):
    """Builds every kind of index of a gallery and searches in it; prints and returns a row per kind."""
    print(f"{len(gallery):,} vectors of {gallery.shape[1]} numbers, {len(query):,} queries")
    rows, exact = [], None
    context = multiprocessing.get_context("spawn")
    for kind in (*KINDS, "faiss flat"):
        place = folder / kind
        build_s = build(place, kind, gallery, run) if kind in KINDS else 0.0
        np.save(folder / "query.npy", query)
        with context.Pool(1) as pool:
            measured, order = pool.apply(searched if kind in KINDS else searched_by_faiss, (folder, place))
        exact = order if exact is None else exact
        found = [len(np.intersect1d(one, other)) for one, other in zip(order, exact, strict=True)]
        files = sum(path.stat().st_size for path in place.iterdir()) if kind in KINDS else 0
        row = {"size": len(gallery), "kind": kind, "build_s": build_s, "files_MiB": files / 2**20} | measured
        row |= {"recall@1": float(np.mean(order[:, 0] == exact[:, 0])), "recall@10": float(np.mean(found) / TOP)}
        print(
            "  ".join(f"{name} {value:,.3f}" if isinstance(value, float) else f"{value}" for name, value in row.items())
        )
        rows.append(row)
    return rows


def build(folder, kind, gallery, run):
    """Writes an index of vectors; returns the seconds that it takes."""
    folder.mkdir()
    count = len(gallery)
    paths = [f"{number // 1000:04d}/{number % 1000:04d}.jpg" for number in range(count)]
    numbers = np.arange(count)
    table = Table(paths, np.zeros(count, np.int8), numbers, numbers, numbers)
    start = time.perf_counter()
    store.write(folder, store.Info.new(run, "drawn", [64, 32], "gallery", kind), table, gallery)
    with_faiss(open_index(folder))
    return time.perf_counter() - start


def searched(folder, place):
    """Opens an index and searches in it; returns its figures, and the rows that each list has."""
    query = np.load(folder / "query.npy")
    before = memory()
    start = time.perf_counter()
    index = open_index(place).load()
    load_s = time.perf_counter() - start
    return timed(query, load_s, before, lambda vector: index.search(vector, TOP).order[0])


def searched_by_faiss(folder, place):
    """Searches the same vectors with FAISS's exact index."""
    del place
    faiss = approximate.library()
    query, before, start = np.load(folder / "query.npy"), memory(), time.perf_counter()
    vectors = open_index(folder / "exact").vectors
    index = faiss.IndexFlatL2(vectors.dim)
    approximate.add(index, vectors)
    load_s = time.perf_counter() - start
    return timed(query, load_s, before, lambda vector: index.search(vector, TOP)[1][0])


def timed(query, load_s, before, search):
    """Searches for one query at a time; returns the figures and the lists."""
    search(query[:1])
    lists, seconds, cpu = [], [], time.process_time()
    for vector in query:
        start = time.perf_counter()
        lists.append(search(vector[None]))
        seconds.append(time.perf_counter() - start)
    cpu = (time.process_time() - cpu) / len(query)
    after = memory()
    figures = {"load_s": load_s} | {f"{name}_MiB": after[name] - before[name] for name in before}
    median, late = np.percentile(seconds, (50, 95)) * 1e3
    figures |= {"ms_per_query": float(median), "ms_95th_percentile": float(late), "cpu_ms_per_query": 1e3 * cpu}
    return figures, np.stack(lists)


def memory():
    """Returns the memory of this process in MiB: its own, and pages of files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"memory": int(lines["RssAnon"].split()[0]) / 1024, "pages": int(lines["RssFile"].split()[0]) / 1024}


if __name__ == "__main__":
    main()
