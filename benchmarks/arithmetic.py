"""Counts the operations of one iteration: how many images each network sees, and what that costs.

`python -m benchmarks.arithmetic` prints one row per pass of a network in an iteration of `configs/sysu_image.py` at
full size, as in `rgbir_jax/stages/image.py`. It compares their sum with XLA's count of FLOPs of the compiled step. XLA
counts a network's forward pass on one image. The gradient with respect to its inputs and the gradient with respect to
its parameters are assumed to cost the same amount each. `--preset dgnet` counts the other preset. Nothing is run: the
step is compiled for a CPU, which takes about a minute. `--json FILE` writes the figures.
"""

import argparse
import math
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from benchmarks import limit
from benchmarks.machine import keep, versions
from benchmarks.workload import CLASSES, random_batch, recipe
from rgbir_jax import stages
from rgbir_jax.training import compilation
from rgbir_jax.training.state import Network, State


class Pass(NamedTuple):
    """One pass of images through a network.

    Attributes:
        what: the images, and the loss terms that need the pass.
        network: the network's name in the stage, or "teacher".
        images: the number of images.
        forward: the number of forward passes.
        inputs: the number of gradients with respect to the images or codes, for another network or an earlier layer.
        parameters: the number of gradients with respect to the network's own parameters.
    """

    what: str
    network: str
    images: int
    forward: int
    inputs: int
    parameters: int


def passes(config: ConfigDict) -> list[Pass]:
    """Lists the passes of one iteration of the stage `image`. The first row counts a forward pass that two share."""
    own, weights = config.image, config.image.weights
    anchors = config.batch.identities * len(config.modalities)
    real = anchors * config.batch.shots
    copies = 2 if config.augment.erase.probability else 1
    trains = int(not own.freeze_appearance)
    images = ["x_simple"] * bool(weights.L_simple) + ["x_cross"] * bool(weights.L_cross) + ["x_swap"]
    rows = [
        Pass("real images, clean and erased" if copies == 2 else "real images", "E_a", copies * real, 1, 1, 1),
        Pass("anchors", "E_s", anchors, 1, 1, 1),
        Pass(", ".join(images), "G", len(images) * anchors, 1, 1, 1),
        Pass("anchors and x_swap for D's update, L_adv_D", "D", 2 * anchors, 1, 1, 1),
        Pass("x_swap for E and G, L_adv_G", "D", anchors, 1, 1, 0),
        Pass("x_swap, L_code_s and L_cycle" if weights.L_cycle else "x_swap, L_code_s", "E_s", anchors, 1, 1, 1),
        Pass("x_swap, L_id_recon and L_code_a", "E_a", anchors, 1, 1, trains),
        Pass("x_swap held constant, L_dis", "E_a", anchors, 0, 1, 1),
        Pass("x_swap held constant and mirrored, L_dis", "teacher", 2 * anchors, 1, 0, 0),
    ]
    if weights.L_R1:
        # The gradient with respect to the images, and that of its size with respect to the parameters.
        rows.append(Pass("anchors, L_R1", "D", anchors, 0, 2, 1))
    if weights.L_cycle:
        rows.append(Pass("cycle reconstruction of the anchors, L_cycle", "G", anchors, 1, 1, 1))
    return rows


def main():
    arguments = parse()
    jax.config.update("jax_platforms", "cpu")
    compilation.prepare()
    config = recipe("image", arguments.preset, "float32", arguments.size, arguments.width_divisor)
    states, built = {}, {}
    for name in config.recipe:
        built[name] = stages.build(config, name, CLASSES)
        states[name] = jax.eval_shape(built[name].init, jax.random.key(0), dict(states))
    networks = built["image"].networks | {"teacher": built["teacher"].networks["E_a"]}
    forward = {name: forward_flops(networks[name]) for name in ("E_a", "E_s", "G", "D", "teacher")}
    rows = [
        row._asdict() | {"flops": row.images * forward[row.network] * (row.forward + row.inputs + row.parameters)}
        for row in passes(config)
    ]
    total = sum(row["flops"] for row in rows)
    cost = limit.step_cost(built["image"], states["image"], random_batch(built["image"]))
    counted, state = cost["flops"], state_bytes(states["image"])

    print(f"preset {arguments.preset}, images of {config.image_size}; {versions('jax', 'jaxlib')}\n")
    print("| network | GFLOPs per image, forward |\n|---|---|")
    for name, flops in forward.items():
        print(f"| {name} | {flops / 1e9:.3f} |")
    print("\n| network: what it sees | images | forward | to inputs | to parameters | GFLOPs | share |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        times = f"{row['forward']} | {row['inputs']} | {row['parameters']}"
        work = f"{row['flops'] / 1e9:.1f} | {row['flops'] / total:.1%}"
        print(f"| {row['network']}: {row['what']} | {row['images']} | {times} | {work} |")
    for name in forward:
        flops = sum(row["flops"] for row in rows if row["network"] == name)
        print(f"| all of {name} | | | | | {flops / 1e9:.1f} | {flops / total:.1%} |")
    print(f"| sum | | | | | {total / 1e9:.1f} | |")
    print(f"| XLA's count of the compiled step | | | | | {counted / 1e9:.1f} | {counted / total:.1%} |")
    print(f"\nbytes: {cost['bytes accessed'] / 1e9:.1f} GB by XLA's count of operands and results, usually too high;")
    print(f"parameters and optimiser states, read and written once: {2 * state / 1e9:.2f} GB, the minimum.")
    figures = {"forward_flops": forward, "rows": rows, "sum": total, "counted_by_xla": counted}
    figures |= {"bytes_counted_by_xla": cost["bytes accessed"], "state_bytes": state}
    keep(arguments.json, {"versions": versions("jax", "jaxlib")} | vars(arguments) | figures)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=("paper", "dgnet"), default="paper")
    parser.add_argument("--size", nargs=2, type=int, default=(256, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--width-divisor", type=int, default=1, help="Divides the widths of all networks.")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def state_bytes(state: State) -> int:
    """Returns the size of the parameters, statistics and optimiser states, which an iteration reads and writes."""
    leaves = jax.tree.leaves((state.params, state.batch_stats, state.opt_state))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def forward_flops(network: Network) -> float:
    """Counts a network's forward pass on one image."""
    variables, _ = network.shapes()

    def forward(variables, *inputs):
        return network.module.apply(variables, *inputs, **network.options)

    return limit.cost(jax.jit(forward).lower(variables, *network.inputs))["flops"]


if __name__ == "__main__":
    main()
