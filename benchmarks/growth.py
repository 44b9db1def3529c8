"""Claim: cost grows in proportion to the work: the slope of a doubly logarithmic plot is 1 or less.

`python -m benchmarks.growth` measures, and for each writes growth_WHAT.json and growth_WHAT.png into `--out`:

    batch        seconds of an iteration of the image stage against identities in the batch
    image_size   the same against the pixels of an image
    scoring      seconds a probe against images in the gallery
    preparation  seconds to prepare a drawn dataset against its images, for both sources

`--only` measures some of them. Networks are an eighth as wide as in `configs/sysu_image.py` (`--width-divisor`), which
is feasible on a CPU. Times are medians. The slope, the exponent of the growth, is that of the straight line through the
last three points: what is spent once, whatever the size, weighs on the first ones.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.ticker import LogLocator

from benchmarks.drawn_features import random_images, same_person_and_camera
from benchmarks.machine import keep, machine, versions
from benchmarks.sources import opened
from benchmarks.timing import in_turn, medians, timed
from benchmarks.workload import CLASSES, Iteration, initialised, random_batch, recipe
from rgbir_jax import stages, synthetic
from rgbir_jax.evaluation import metrics
from rgbir_jax.training import compilation
from rgbir_jax.visualize import style

FITTED = 3  # the last points
PROBES = 1000


class Growth(NamedTuple):
    """One measurement: seconds against work.

    Attributes:
        work: what is counted, the label of the axis.
        cost: what it takes, likewise.
        points: [work, seconds] in order, by series.
    """

    work: str
    cost: str
    points: dict[str, list[list[float]]]


def main():
    compilation.prepare()
    arguments = parse()
    where = {
        "machine": machine(),
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "versions": versions("numpy", "jax", "jaxlib", "tensorflow-cpu"),
    }
    print("; ".join(where.values()))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for what in arguments.only or MEASUREMENTS:
        growth = MEASUREMENTS[what](arguments)
        slopes = {name: slope(points) for name, points in growth.points.items()}
        for name, points in growth.points.items():
            for work, seconds in points:
                print(f"{what:12}{name:12}{work:10,.0f} {growth.work:28}{seconds:12.6f} s")
            print(f"{what:12}{name:12}slope {slopes[name]:.2f}")
        keep(arguments.out / f"growth_{what}.json", where | settings(arguments) | growth._asdict() | {"slopes": slopes})
        draw(growth, slopes, arguments.out / f"growth_{what}.png")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(MEASUREMENTS), metavar="WHAT", help=", ".join(MEASUREMENTS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--identities", type=int, nargs="+", default=(2, 4, 8, 16, 32), help="Of the batches.")
    parser.add_argument("--heights", type=int, nargs="+", default=(96, 128, 192, 256, 384), help="Twice the widths.")
    parser.add_argument("--galleries", type=int, nargs="+", default=(100, 1_000, 10_000, 100_000), help="Images.")
    parser.add_argument("--images", type=int, nargs="+", default=(250, 500, 1_000, 2_000, 4_000), help="To prepare.")
    parser.add_argument("--size", nargs=2, type=int, default=(96, 48), metavar=("HEIGHT", "WIDTH"), help="In `batch`.")
    parser.add_argument("--width-divisor", type=int, default=8, help="Divides the widths of all networks.")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=5, help="Of each point, of which the median counts.")
    parser.add_argument("--steps", type=int, default=3, help="Iterations of a round.")
    return parser.parse_args()


def settings(arguments):
    return {name: value for name, value in vars(arguments).items() if name not in ("only", "out")}


def slope(points) -> float:
    """The exponent over the last points."""
    work, seconds = np.log(points[-FITTED:]).T
    return float(np.polyfit(work, seconds, 1)[0])


def batch(arguments) -> Growth:
    def sized(config, identities):
        config.batch.identities = identities
        return identities

    return Growth("identities in the batch", "seconds an iteration", steps(arguments, arguments.identities, sized))


def image_size(arguments) -> Growth:
    def sized(config, height):
        config.image_size = (height, height // 2)
        return height * (height // 2)

    return Growth("pixels of an image", "seconds an iteration", steps(arguments, arguments.heights, sized))


def steps(arguments, sizes, sized: Callable):
    """Seconds of an iteration of the image stage; `sized` changes the recipe and tells its work."""
    config = recipe("image", None, arguments.dtype, arguments.size, arguments.width_divisor)
    _, states = initialised(config, "image")  # no weight's shape depends on the batch or the image
    points = []
    for size in sizes:
        work = sized(config, size)
        stage = stages.build(config, "image", CLASSES)
        iteration = Iteration(stage, states["image"], random_batch(config, stage))
        iteration.round(arguments.steps)  # compiles
        seconds = medians(in_turn({"step": partial(iteration.round, arguments.steps)}, arguments.rounds))["step"]
        points.append([work, seconds / arguments.steps])
    return {"image stage": points}


def scoring(arguments) -> Growth:
    generator, points = np.random.default_rng(0), []
    for size in arguments.galleries:
        people = max(size // 20, 5)
        gallery, probe = random_images(generator, size, people), random_images(generator, PROBES, people)
        rank = partial(metrics.rank, probe, gallery, [np.arange(size)], same_person_and_camera, "identity")
        seconds, _ = timed(rank, arguments.rounds)
        points.append([size, seconds / PROBES])
    return Growth("images in the gallery", "seconds a probe", {"rank": points})


def preparation(arguments) -> Growth:
    """Decoding, resizing and writing; reading the tree's table is part of it, importing TensorFlow is not."""
    sources = ["memory", *(["tfds"] if find_spec("tensorflow_datasets") else [])]
    points = {name: [] for name in sources}
    with tempfile.TemporaryDirectory() as folder:
        for number, wanted in enumerate((min(arguments.images), *arguments.images)):
            tree, size = Path(folder, f"tree{number}"), (256, 128)
            people = max(wanted // 51, 3)  # each has 51 images on average
            plan = synthetic.sysu_plan(people - 2, 1, 1, images=10, seed=0)
            synthetic.write(plan, tree, seed=0, size=size, arguments={}, workers=0)

            def prepare(name, tree=tree, size=size):
                with tempfile.TemporaryDirectory(dir=folder) as prepared:
                    seconds, _ = timed(partial(opened, name, tree, prepared, size), 1)
                return seconds

            seconds = medians(in_turn({name: partial(prepare, name) for name in sources}, arguments.rounds))
            if number:  # the first tree is drawn and opened for the imports
                for name in sources:
                    points[name].append([len(plan.shots), seconds[name]])
    return Growth("images in the dataset", "seconds to prepare it", points)


MEASUREMENTS: dict[str, Callable[..., Growth]] = {
    "batch": batch,
    "image_size": image_size,
    "scoring": scoring,
    "preparation": preparation,
}


def draw(growth: Growth, slopes: dict[str, float], path: Path) -> None:
    """Both axes logarithmic, the fitted lines dashed."""
    made, (axes,) = style.figure(4.8, 3.4)
    for colour, (name, points) in zip(style.COLOURS, growth.points.items(), strict=False):
        work, seconds = np.array(points).T
        axes.loglog(work, seconds, "o", color=colour, label=f"{name}, slope {slopes[name]:.2f}")
        fitted, level = work[-FITTED:], np.exp(np.mean(np.log(seconds[-FITTED:])))
        middle = np.exp(np.mean(np.log(fitted)))
        axes.loglog(fitted, level * (fitted / middle) ** slopes[name], "--", color=colour)
    axes.set_xticks(work, [f"{size:,.0f}" for size in work])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set(xlabel=growth.work, ylabel=growth.cost)
    axes.legend(frameon=False)
    style.save(made, path)


if __name__ == "__main__":
    main()
