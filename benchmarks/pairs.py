"""Claim: re-ranking and the ROC of all pairs need memory for blocks only, whatever the number of pairs.

    python -m benchmarks.pairs

measures time and peak memory of k-reciprocal re-ranking (k1 20, k2 6) for the numbers of probes and gallery images of
SYSU-MM01 (single- and multi-shot), RegDB and 10,000 x 10,000, and of the ROC for those of SYSU-MM01 (all images that
ten multi-shot galleries draw), Market-1501 and 3,803 x 96,000. Each is a process of its own, so that its peak memory is
that of this size; what the process has before, with the features, is in the column `before`. Features have 512 numbers
and are drawn around one centre per person. `--only re-ranking` leaves the ROC out. `--json FILE` writes the figures.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks.drawn_features import SIZE
from benchmarks.machine import keep, machine, versions

SIZES = {
    "re-ranking": ((3_803, 301), (3_803, 3_010), (2_060, 2_060), (10_000, 10_000)),
    "ROC": ((3_803, 6_775), (3_368, 15_913), (3_803, 96_000)),
}
PER_PERSON = 40  # images


def main():
    parser = argparse.ArgumentParser("pairs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SIZES)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        what, probes, gallery = arguments.one
        print(json.dumps(measure(what, int(probes), int(gallery))))
        return
    rows = []
    for what in [arguments.only] if arguments.only else SIZES:
        for probes, gallery in SIZES[what]:
            command = [sys.executable, "-m", "benchmarks.pairs", "--one", what, str(probes), str(gallery)]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            print("{what:10} {probes:6,} x {gallery:6,}: {seconds:6.1f} s, of the processor {cpu_s:6.1f} s, peak "
                  "{peak_MiB:5.0f} MiB, before {before_MiB:5.0f}".format(**rows[-1]), flush=True)  # fmt: skip
    keep(arguments.json, {"machine": machine(), "versions": versions("numpy", "scipy"), "rows": rows})


def measure(what, probes, gallery):
    from rgbir_jax.datasets.search import Search, nothing_hidden
    from rgbir_jax.evaluation.metrics import Images
    from rgbir_jax.evaluation.reranking import Reranking, reranked
    from rgbir_jax.evaluation.verification import figures, roc

    generator = np.random.default_rng(0)
    person_id = generator.integers(0, (probes + gallery) // PER_PERSON, probes + gallery)
    feature = generator.standard_normal((probes + gallery, SIZE), np.float32)
    feature += generator.standard_normal((person_id.max() + 1, SIZE), np.float32)[person_id] / 2
    rows = np.arange(probes + gallery)
    before = peak_MiB()
    start, cpu_start = time.perf_counter(), time.process_time()
    if what == "re-ranking":
        distances = reranked(feature, rows[:probes], rows[probes:], Reranking())
        for first in range(0, probes, 100):
            distances(slice(first, first + 100))
    else:
        images = Images(feature, person_id, np.ones_like(rows))
        search = Search("s", "s", rows[:probes], (rows[probes:],), nothing_hidden, "identity")
        figures(roc(images, search))
    return {
        "what": what,
        "probes": probes,
        "gallery": gallery,
        "seconds": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu_start,
        "peak_MiB": peak_MiB(),
        "before_MiB": before,
    }


def peak_MiB():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
