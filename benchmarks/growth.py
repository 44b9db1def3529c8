"""Claim: cost grows in proportion to the work: the slope of a doubly logarithmic plot is 1 or less.

`python -m benchmarks.growth` makes four measurements and writes growth_NAME.json and growth_NAME.png for each of them
into `--out`:

    batch        seconds per iteration of the image stage against identities in the batch
    image_size   seconds per iteration of the image stage against pixels per image
    scoring      seconds per probe against images in the gallery
    preparation  seconds to prepare a drawn dataset against its images, for both sources

`--only` selects some of them. The networks are an eighth as wide as in `configs/sysu_image.py` (`--width-divisor`),
so that a CPU can run them. Times are medians. The slope is the exponent of the growth. It is taken from the straight
line through the last three points, because a constant cost distorts the first ones.
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
        work: the unit of the work, the label of its axis.
        cost: the unit of the cost, the label of its axis.
        points: [work, seconds] in ascending order, by series.
    """

    work: str
    cost: str
    points: dict[str, list[list[float]]]


def main():
    compilation.prepare()
    arguments = parse()
    environment = {
        "machine": machine(),
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "versions": versions("numpy", "jax", "jaxlib", "tensorflow-cpu"),
    }
    print("; ".join(environment.values()))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for measurement in arguments.only or MEASUREMENTS:
        growth = MEASUREMENTS[measurement](arguments)
        slopes = {name: slope(points) for name, points in growth.points.items()}
        for name, points in growth.points.items():
            for work, seconds in points:
                print(f"{measurement:12}{name:12}{work:10,.0f} {growth.work:28}{seconds:12.6f} s")
            print(f"{measurement:12}{name:12}slope {slopes[name]:.2f}")
        figures = environment | settings(arguments) | growth._asdict() | {"slopes": slopes}
        keep(arguments.out / f"growth_{measurement}.json", figures)
        draw(growth, slopes, arguments.out / f"growth_{measurement}.png")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(MEASUREMENTS), metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--identities", type=int, nargs="+", default=(2, 4, 8, 16, 32), help="Identities per batch.")
    parser.add_argument(
        "--heights",
        type=int,
        nargs="+",
        default=(96, 128, 192, 256, 384),
        help="Heights of images; each is twice the width.",
    )
    parser.add_argument("--galleries", type=int, nargs="+", default=(100, 1_000, 10_000, 100_000), help="Sizes.")
    parser.add_argument(
        "--images", type=int, nargs="+", default=(250, 500, 1_000, 2_000, 4_000), help="Sizes of datasets."
    )
    parser.add_argument("--size", nargs=2, type=int, default=(96, 48), metavar=("HEIGHT", "WIDTH"), help="For `batch`.")
    parser.add_argument("--width-divisor", type=int, default=8, help="Divides the widths of all networks.")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=5, help="Number of rounds per point; the median counts.")
    parser.add_argument("--steps", type=int, default=3, help="Number of iterations per round.")
    return parser.parse_args()


def settings(arguments):
    return {name: value for name, value in vars(arguments).items() if name not in ("only", "out")}


def slope(points) -> float:
    """Returns the exponent of the growth over the last points."""
    work, seconds = np.log(points[-FITTED:]).T
    return float(np.polyfit(work, seconds, 1)[0])


def batch(arguments) -> Growth:
    def resize(config, identities):
        config.batch.identities = identities
        return identities

    return Growth("identities in the batch", "seconds per iteration", steps(arguments, arguments.identities, resize))


def image_size(arguments) -> Growth:
    def resize(config, height):
        config.image_size = (height, height // 2)
        return height * (height // 2)

    return Growth("pixels per image", "seconds per iteration", steps(arguments, arguments.heights, resize))


def steps(arguments, sizes, resize: Callable):
    """Measures an iteration of the image stage at several sizes.

    Args:
        arguments: the program's arguments.
        sizes: the sizes, in ascending order.
        resize: (config, size) -> the amount of work of that size; sets the size in the config.
    """
    config = recipe("image", None, arguments.dtype, arguments.size, arguments.width_divisor)
    _, states = initialised(config, "image")  # no weight's shape depends on the batch or the image
    points = []
    for size in sizes:
        work = resize(config, size)
        stage = stages.build(config, "image", CLASSES)
        iteration = Iteration(stage, states["image"], random_batch(stage))
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
    return Growth("images in the gallery", "seconds per probe", {"rank": points})


def preparation(arguments) -> Growth:
    """Measures the reading of a tree's table and the decoding, resizing and writing of its images; not the imports."""
    sources = ["memory", *(["tf_data"] if find_spec("tensorflow_datasets") else [])]
    points = {name: [] for name in sources}
    with tempfile.TemporaryDirectory() as folder:
        for number, images in enumerate((min(arguments.images), *arguments.images)):
            tree, size = Path(folder, f"tree{number}"), (256, 128)
            people = max(images // 51, 3)  # each has 51 images on average
            plan = synthetic.sysu_plan(people - 2, 1, 1, images=10, seed=0)
            synthetic.write(plan, tree, seed=0, size=size, arguments={}, workers=0)

            def prepare(name, tree=tree, size=size):
                with tempfile.TemporaryDirectory(dir=folder) as prepared:
                    seconds, _ = timed(partial(opened, name, tree, prepared, size), 1)
                return seconds

            seconds = medians(in_turn({name: partial(prepare, name) for name in sources}, arguments.rounds))
            if number:  # the first tree is opened only to import the modules
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
    """Draws the points and, dashed, the fitted lines, on two logarithmic axes."""
    drawing, (axes,) = style.figure(4.8, 3.4)
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
    style.save(drawing, path)


if __name__ == "__main__":
    main()
