"""Claim: SYSU-MM01's four official settings are scored at least 15 times faster than by a plain loop.

`python -m benchmarks.scoring` draws 512-d features at SYSU-MM01's size (96 test identities, 3,803 probes,
galleries of 301, 3,010, 112 and 1,120 images), scores them with `rgbir_jax.evaluation.protocols` and with the
plain loop over probes below, compares every figure and prints the ratio.
`--large` ranks 1,000,000 gallery features for some of 100,000 probes (`--probes`: how many; all of them take
about an hour on two cores) and prints time and peak memory.
`python -m benchmarks.growth --only scoring` has the time a probe takes against the gallery's size.
`--json FILE` also writes what was measured.
"""

import resource
import time

import numpy as np
from absl import app, flags

from benchmarks.drawn_features import SIZE, random_images, same_person_and_camera, sysu_sized
from benchmarks.machine import keep, machine, versions
from benchmarks.timing import timed
from rgbir_jax.data.sysu_lists import TRIALS
from rgbir_jax.evaluation import metrics, protocols

LARGE = flags.DEFINE_bool("large", False, "100,000 probes x 1,000,000 gallery features.")
PROBES = flags.DEFINE_integer("probes", 1000, "With --large: how many of the 100,000 probes to rank.")
REPEATS = flags.DEFINE_integer("repeats", 5, "Runs of ours, of which the median counts.")
LOOP_REPEATS = flags.DEFINE_integer("loop_repeats", 3, "Runs of the loop, of which the median counts.")
JSON = flags.DEFINE_string("json", None, "File to write the measurements to.")


def main(argv):
    del argv
    where = {"machine": machine(), "versions": versions("numpy", "scipy")}
    print("; ".join(where.values()))
    keep(JSON.value, where | (large() if LARGE.value else compare()))


def compare():
    images, permutations = sysu_sized()
    ours_s, ours = timed(lambda: protocols.evaluate(*images, permutations=permutations), REPEATS.value)
    loop_s, loop = timed(lambda: plain_loop(*images, permutations), LOOP_REPEATS.value)
    difference = max(
        np.max(np.abs(np.subtract(figures(ours[name]), figures(loop[name])))) for name in protocols.SETTINGS
    )
    print(f"plain loop       {loop_s:7.2f} s")
    print(f"rgbir_jax        {ours_s:7.2f} s   (all settings, ten trials, distances included; medians)")
    print(f"ratio            {loop_s / ours_s:7.1f}     (target 15); largest difference {difference:.1e}")
    return {
        "loop_s": loop_s,
        "ours_s": ours_s,
        "ratio": loop_s / ours_s,
        "largest_difference": float(difference),
    }


def large():
    people, in_gallery, in_probes = 50_000, 1_000_000, 100_000
    generator = np.random.default_rng(0)
    gallery = random_images(generator, in_gallery, people)
    probe = random_images(generator, in_probes, people)[: PROBES.value]
    start = time.perf_counter()
    metrics.summarise(metrics.rank(probe, gallery, [np.arange(in_gallery)], same_person_and_camera, "image"))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    held = (gallery.feature.nbytes + probe.feature.nbytes) / 2**30
    print(
        f"{len(probe):,} probes x {in_gallery:,} gallery features of {SIZE}: {seconds:.1f} s, "
        f"{1e3 * seconds / len(probe):.1f} ms a probe; peak memory {peak:.1f} GiB, "
        f"{held:.1f} of it the features"
    )
    return {
        "probes": len(probe),
        "gallery": in_gallery,
        "seconds": seconds,
        "peak_GiB": peak,
        "features_GiB": held,
    }


def plain_loop(features, person_id, camera, index, permutations):
    """The yardstick: for each setting, trial and probe one argsort, and the figures read off it."""
    scores = {}
    probes = np.flatnonzero(np.isin(camera, (3, 6)))
    row_of = {image: row for row, image in enumerate(zip(person_id, camera, index, strict=True))}
    for name, setting in protocols.SETTINGS.items():
        cmcs, maps, inps = [], [], []
        for trial in range(TRIALS):
            gallery = np.array(
                [
                    row_of[person, cam, number]
                    for person in np.unique(person_id)
                    for cam in setting.gallery_cameras
                    if (cam, person) in permutations
                    for number in permutations[cam, person][trial][: setting.shots]
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
