"""What a fresh stage starts from instead of random weights: an ImageNet-trained ResNet-50, or another run (Method2)."""

import dataclasses
import json
import math
from contextlib import closing
from pathlib import Path
from typing import cast

import jax
from flax.traverse_util import flatten_dict
from jaxtyping import PyTree
from ml_collections import ConfigDict

from rgbir_jax.models import pretrained
from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.processes import say
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

Variables = dict[str, dict[str, PyTree]]  # by kind (params, batch_stats), then by network name


def starting_weights(config: ConfigDict, name: str, stage: Stage, directory: Path) -> Variables:
    """What a stage's networks start from where it is not random, and prints it.

    A stage with `transfer_from` takes over all networks but its heads from the stage of the same name in that run
    (Method2). Otherwise every ResNet trunk starts from `config.resnet50`, unless it comes from an earlier stage.

    Args:
        config: the whole recipe: `resnet50` (a file; empty for none), and of the stage `from_run`, `transfer_from` (a
            run's folder; empty for none), `start_from`.
        name: of the stage.
        stage: its networks tell the shapes.
        directory: of the stage. With a checkpoint to go on from, or one taken from another run, nothing is read.

    Returns:
        NumPy arrays for `start`.

    Raises:
        FileNotFoundError, ValueError: for a file or a run that is not there, does not fit or has a number that is not
            finite, by name.
    """
    own = config[name]
    if own.from_run or _goes_on(directory / "checkpoints"):
        return {}
    run, earlier = own.get("transfer_from"), own.get("start_from")
    if run:
        if earlier:
            raise ValueError(
                f"config.{name}.transfer_from and config.{name}.start_from both say what {name} starts from; "
                f"leave one empty."
            )
        return _from_run(run, name, own, stage)
    return {} if earlier else _from_imagenet(config.resnet50, name, stage)


def start(state: State, weights: Variables) -> State:
    """A fresh state with the weights of some networks replaced. Its optimisers have seen none, so they stay."""
    return dataclasses.replace(
        state,
        params=state.params | weights.get("params", {}),
        batch_stats=state.batch_stats | weights.get("batch_stats", {}),
    )


def _from_imagenet(file: str, name: str, stage: Stage) -> Variables:
    # A network's variables are {kind: {"trunk": ...}} where it is a ResNet and pooling.
    found = {network: spec.shapes()[0] for network, spec in stage.networks.items()}
    found = {network: variables for network, variables in found.items() if "trunk" in variables["params"]}
    if not found:
        return {}
    networks = " and ".join(found)
    if not file:
        say(f"{name}: the ResNet of {networks} starts from random weights; config.resnet50 takes an ImageNet file.")
        return {}
    # Read for each network, so that no two share a buffer.
    read = {
        network: pretrained.load_resnet50(file, {kind: tree["trunk"] for kind, tree in variables.items()})
        for network, variables in found.items()
    }
    say(f"{name}: the ResNet of {networks} starts from {file}.")
    return {
        kind: {network: {"trunk": trunk[kind]} for network, trunk in read.items()} for kind in ("params", "batch_stats")
    }


def _from_run(run: str, name: str, own: ConfigDict, stage: Stage) -> Variables:
    shapes = {network: spec.shapes()[0] for network, spec in stage.networks.items()}
    taken = [network for network in shapes if network not in own.networks.heads]
    like = {
        kind: {network: shapes[network][kind] for network in taken if kind in shapes[network]}
        for kind in ("params", "batch_stats")
    }
    folder = Path(run) / name
    if not (folder / "checkpoints").is_dir():
        raise FileNotFoundError(
            f"{folder} is not there: config.{name}.transfer_from names no run that trained a stage {name}; "
            f"train it first, or leave the name empty."
        )
    with closing(Checkpoints(folder / "checkpoints")) as checkpoints:
        step = checkpoints.best()
        if step is None:
            raise ValueError(f"{folder} has no checkpoint yet; train the run {run} first.")
        _check_shapes(checkpoints.meta(step)["shapes"], like, folder)
        _check_networks(Path(run), name, own, taken)
        weights = checkpoints.restore_part(step, like)

    def named(networks) -> str:
        return ", ".join(f"{network} ({_count(shapes[network]['params']):,} parameters)" for network in networks)

    say(f"{name}: {named(taken)} from {folder}, iteration {step}; anew: {named(own.networks.heads)}.")
    return weights


def _check_shapes(saved: dict[str, list[int]], like: Variables, folder: Path) -> None:
    wanted = {leaf: list(spec.shape) for leaf, spec in cast(dict, flatten_dict(like, sep="/")).items()}
    networks = {tuple(leaf.split("/")[:2]) for leaf in wanted}
    saved = {leaf: shape for leaf, shape in saved.items() if tuple(leaf.split("/")[:2]) in networks}
    for leaf in sorted(saved.keys() | wanted.keys()):
        if saved.get(leaf) != wanted.get(leaf):
            there, here = (
                f"{leaf} of shape {tuple(shapes[leaf])}" if leaf in shapes else f"no {leaf}"
                for shapes in (saved, wanted)
            )
            raise ValueError(
                f"{folder} does not fit: it has {there}, this config makes {here}; "
                f"give both recipes the same networks, or leave transfer_from empty."
            )


def _check_networks(run: Path, name: str, own: ConfigDict, taken: list[str]) -> None:
    """What shapes do not show: appearance codes cut into other slices have the same ones."""
    there, here = json.loads((run / "config.json").read_text())[name]["networks"], json.loads(own.networks.to_json())
    for network in taken:
        for key, value in here[network].items():
            if there[network].get(key) != value:
                raise ValueError(
                    f"{run / name} does not fit: there config.{name}.networks.{network}.{key} is "
                    f"{there[network].get(key)}, here it is {value}; give both recipes the same networks."
                )


def _goes_on(folder: Path) -> bool:
    """Whether there is a checkpoint to resume from. Opening it would wait for all processes."""
    return any(path.name.isdigit() for path in folder.glob("*"))


def _count(tree: PyTree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
