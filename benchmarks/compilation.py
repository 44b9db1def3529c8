"""Claim: at full size and in bfloat16, the training iteration of every system compiles.

    python -m benchmarks.compilation

compiles the stages of each recipe as training maps them over the devices, recipe after recipe, each in a process of
its own and without a compilation cache. Nothing is run. It prints Markdown: the images of an iteration, XLA's count of
its operations, and the seconds of the command. `--recipes NAME...` takes some of the recipes; `--json FILE` also writes
the figures.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import keep, machine, versions
from benchmarks.seeds import grid

ROOT = Path(__file__).parents[1]
RECIPES = (
    "sysu_image",
    "sysu_image:best",
    "sysu_image:dgnet",
    "sysu_image:released",
    "sysu_two_stream",
    "sysu_two_stream:batch32",
    "sysu_embedding",
    "sysu_zero_padding",
    "sysu_zero_padding:resnet6",
    "sysu_zero_padding:one_stream",
    "sysu_cmgan",
    "sysu_sdl",
    "sysu_sdl:released",
    "sysu_cmpig",
    "sysu_hicmd",
    "sysu_hicmd:released",
    "sysu_agw",
    "sysu_agw:base",
    "sysu_caj",
    "sysu_rle",
    "sysu_deen",
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=RECIPES, metavar="NAME")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    figures = {}
    for recipe in arguments.recipes:
        figures[recipe] = compiled(recipe)
        print(f"{recipe}: {figures[recipe]['seconds']:.0f} s", file=sys.stderr)
    print(markdown(figures))
    keep(
        arguments.json,
        {"machine": machine(), "versions": versions("jax", "jaxlib", "flax"), "recipes": figures},
    )


def compiled(recipe: str) -> dict:
    """Returns the seconds of the command and, by stage, the shape of its batch and the operations of an iteration."""
    command = [sys.executable, ROOT / "train.py", f"--config={recipe}", "--describe", "--flops", "--json"]
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
        output = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE).stdout
        seconds = time.perf_counter() - start
    stages = json.loads(output)["stages"]
    return {
        "seconds": round(seconds, 1),
        "stages": {
            name: {"batch": stage["batch"], "flops_per_step": stage["flops_per_step"]} for name, stage in stages.items()
        },
    }


def markdown(figures: dict) -> str:
    lines = {}
    for recipe, measured in figures.items():
        for name, stage in measured["stages"].items():
            kind, shape = next(iter(stage["batch"].items()))
            images = f"{math.prod(shape[:3]):,}" + (f" of {shape[3]}x{shape[4]}" if kind == "image" else "")
            lines[f"`{recipe}`, {name}"] = [images, f"{stage['flops_per_step']:.2e}", ""]
        lines[f"`{recipe}`, {name}"][-1] = f"{measured['seconds']:.0f}"
    return grid(["recipe, stage", "images or embeddings", "operations", "seconds"], lines)


if __name__ == "__main__":
    main()
