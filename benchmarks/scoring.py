"""Claim: SYSU-MM01's four official settings are scored at least 15 times faster than by a plain loop.

`python -m benchmarks.scoring` draws 512-d features in the number of SYSU-MM01's test images (96 identities, 3,803
probes, galleries of 301, 3,010, 112 and 1,120 images). It scores them with `rgbir_jax.evaluation.evaluate` and with the
plain loop over probes below, compares all figures and prints the ratio of the times. Both times include the drawing of
the galleries.

`--large` ranks 1,000,000 gallery features for 1,000 of 100,000 probes and prints time and peak memory. `--probes` sets
the number of probes to rank; all of them take about an hour on two cores. `python -m benchmarks.growth --only scoring`
measures the time per probe against the size of the gallery. `--json FILE` writes the figures.
"""

import resource
import time

import numpy as np
from absl import app, flags

from benchmarks.drawn_features import SIZE, random_images, same_person_and_camera, sysu_sized
from benchmarks.machine import keep, machine, versions
from benchmarks.timing import timed
from rgbir_jax.datasets import sysu_mm01
from rgbir_jax.datasets.sysu_lists import TRIALS
from rgbir_jax.evaluation import metrics
from rgbir_jax.evaluation.evaluate import evaluate

LARGE = flags.DEFINE_bool("large", False, "Rank 1,000,000 gallery features.")
PROBES = flags.DEFINE_integer("probes", 1000, "With --large: the number of probes to rank, at most 100,000.")
REPEATS = flags.DEFINE_integer("repeats", 5, "Number of runs of this package; the median counts.")
LOOP_REPEATS = flags.DEFINE_integer("loop_repeats", 3, "Number of runs of the plain loop; the median counts.")
JSON = flags.DEFINE_string("json", None, "File to write the figures to.")


def main(argv):
    del argv
    environment = {"machine": machine(), "versions": versions("numpy", "scipy")}
    print("; ".join(environment.values()))
    keep(JSON.value, environment | (large() if LARGE.value else compare()))


def compare():
    features, records, permutations = sysu_sized()

    def score():
        searches = sysu_mm01.drawn_searches(records, "official", permutations)
        return evaluate(features, records, searches)

    ours_s, ours = timed(score, REPEATS.value)
    loop_s, loop = timed(lambda: plain_loop(features, records, permutations), LOOP_REPEATS.value)
    difference = max(
        np.max(np.abs(np.subtract(figures(ours[name]), figures(loop[name])))) for name in sysu_mm01.SETTINGS
    )
    print(f"plain loop       {loop_s:7.2f} s")
    print(f"rgbir_jax        {ours_s:7.2f} s   (all settings, ten trials, with distances; medians)")
    print(f"ratio            {loop_s / ours_s:7.1f}     (target 15); largest difference {difference:.1e}")
    return {
        "loop_s": loop_s,
        "ours_s": ours_s,
        "ratio": loop_s / ours_s,
        "largest_difference": float(difference),
    }


def large():
    people, gallery_size, probe_count = 50_000, 1_000_000, 100_000
    generator = np.random.default_rng(0)
    gallery = random_images(generator, gallery_size, people)
    probe = random_images(generator, probe_count, people)[: PROBES.value]
    start = time.perf_counter()
    metrics.summarise(metrics.rank(probe, gallery, [np.arange(gallery_size)], same_person_and_camera, "image"))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    features = (gallery.feature.nbytes + probe.feature.nbytes) / 2**30
    print(
        f"{len(probe):,} probes x {gallery_size:,} gallery features of {SIZE}: {seconds:.1f} s, "
        f"{1e3 * seconds / len(probe):.1f} ms per probe; peak memory {peak:.1f} GiB, "
        f"of which the features take {features:.1f}"
    )
    return {
        "probes": len(probe),
        "gallery": gallery_size,
        "seconds": seconds,
        "peak_GiB": peak,
        "features_GiB": features,
    }


def plain_loop(features, records, permutations):
    """Scores as most code does: sorts one probe's distances at a time, for each setting and trial."""
    person_id, camera = records.person_id, records.camera
    scores = {}
    probes = np.flatnonzero(np.isin(camera, (3, 6)))
    row_of = {image: row for row, image in enumerate(zip(person_id, camera, records.index, strict=True))}
    for name, setting in sysu_mm01.SETTINGS.items():
        cmcs, maps, inps = [], [], []
        for trial in range(TRIALS):
            gallery = np.array(
                [
                    row_of[person, number, image]
                    for person in np.unique(person_id)
                    for number in setting.gallery_cameras
                    if (number, person) in permutations
                    for image in permutations[number, person][trial][: setting.shots]
                ]
            )
            a, b = features[probes].astype(np.float64), features[gallery].astype(np.float64)
            distances = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
            ranks, precisions, penalties = [], [], []
            for probe, distance in zip(probes, distances, strict=True):
                order = gallery[np.argsort(distance, kind="stable")]
                if camera[probe] == 3:
                    order = order[camera[order] != 2]
                people = person_id[order]
                hits = np.flatnonzero(people == person_id[probe])
                if not len(hits):
                    continue
                precisions.append(np.mean(np.arange(1, len(hits) + 1) / (hits + 1)))
                penalties.append(len(hits) / (hits[-1] + 1))
                _, first = np.unique(people, return_index=True)
                ranks.append(np.flatnonzero(people[np.sort(first)] == person_id[probe])[0])
            cmcs.append([np.mean(np.array(ranks) < k) for k in range(1, metrics.CMC_LENGTH + 1)])
            maps.append(np.mean(precisions))
            inps.append(np.mean(penalties))
        scores[name] = {"cmc": np.mean(cmcs, axis=0), "mAP": np.mean(maps), "mINP": np.mean(inps)}
    return scores


def figures(score):
    return [*score["cmc"], score["mAP"], score["mINP"]]


if __name__ == "__main__":
    app.run(main)
