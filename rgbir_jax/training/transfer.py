"""Weights that a fresh stage starts from: an ImageNet-trained ResNet-50, or another run (Method2)."""

import dataclasses
import json
import math
from pathlib import Path
from typing import cast

import jax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree
from ml_collections import ConfigDict

from rgbir_jax.errors import UserError
from rgbir_jax.files import read_json
from rgbir_jax.models import pretrained
from rgbir_jax.models.resnet import ResNet50
from rgbir_jax.models.shapes import first_difference
from rgbir_jax.training.checkpoints import Checkpoints, has_checkpoint
from rgbir_jax.training.processes import say
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

Variables = dict[str, dict[str, PyTree]]  # by kind (params, batch_stats), then by network name


def starting_weights(config: ConfigDict, name: str, stage: Stage, directory: Path) -> Variables:
    """Reads the weights that a stage's networks start from if these are not random, and prints where they come from.

    A stage with `transfer_from` takes over all networks but its heads from the stage of the same name in that run
    (Method2). Otherwise every ResNet starts from `config.resnet50`, unless it comes from an earlier stage.

    Args:
        config: the whole recipe: `resnet50` (a file; empty for none), and of the stage `from_run`, `transfer_from` (a
            run's folder; empty for none) and `start_from`.
        name: the stage's name.
        stage: the stage; its networks have the shapes.
        directory: the stage's folder. If it has a checkpoint, or if the stage is taken from another run, nothing is
            read.

    Returns:
        NumPy arrays for `start`.

    Raises:
        UserError: for a file or a run that does not exist, does not fit or has a number that is not finite.
    """
    own = config[name]
    if own.from_run or has_checkpoint(directory):
        return {}
    run, earlier = own.get("transfer_from"), own.get("start_from")
    if run:
        if earlier:
            raise UserError(
                f"config.{name}.transfer_from and config.{name}.start_from both say what {name} starts from; "
                f"leave one empty."
            )
        return _from_run(run, name, own, stage)
    return {} if earlier else _from_imagenet(config.resnet50, name, stage)


def start(state: State, weights: Variables) -> State:
    """Replaces the given weights of a fresh state. Its optimisers have seen no gradient, so they stay."""
    kinds = weights.items()
    trained = {kind: {name: tree for name, tree in trees.items() if name not in state.frozen} for kind, trees in kinds}
    frozen = {name: {kind: trees[name] for kind, trees in kinds if name in trees} for name in state.frozen}
    return dataclasses.replace(
        state,
        params=_replaced(state.params, trained.get("params", {})),
        batch_stats=_replaced(state.batch_stats, trained.get("batch_stats", {})),
        frozen=_replaced(state.frozen, frozen),
    )


def _replaced(tree: PyTree, leaves: PyTree) -> PyTree:
    return unflatten_dict(cast(dict, flatten_dict(tree, keep_empty_nodes=True)) | cast(dict, flatten_dict(leaves)))


def _from_imagenet(file: str, name: str, stage: Stage) -> Variables:
    trunks = resnets(stage)
    if not trunks:
        return {}
    if not file:
        _say_random(name, trunks)
        return {}
    # Read for each network, so that no two share a buffer.
    loaded = {network: pretrained.load_resnet50(file, trunk) for network, trunk in trunks.items()}
    say(f"{name}: the ResNet of {' and '.join(trunks)} starts from {file}.")
    return {
        kind: {network: {"trunk": trunk[kind]} for network, trunk in loaded.items()}
        for kind in ("params", "batch_stats")
    }


def _say_random(name: str, trunks: dict) -> None:
    networks = " and ".join(trunks)
    say(f"{name}: the ResNet of {networks} starts from random weights; config.resnet50 takes an ImageNet file.")


def resnets(stage: Stage) -> dict[str, dict[str, PyTree]]:
    """Returns the shapes of each ResNet-50 of a stage, trained or frozen: by network, then by kind of variables."""
    return {
        name: {kind: tree["trunk"] for kind, tree in network.shapes()[0].items()}
        for name, network in (stage.networks | stage.frozen).items()
        if isinstance(getattr(network.module, "trunk", None), ResNet50)
    }


def check_resnet50(file: str, stages: dict[str, Stage]) -> None:
    """Refuses an ImageNet file that no network could start from.

    Args:
        file: `config.resnet50`; empty for none.
        stages: the stages of the recipe by name.

    Raises:
        UserError: if no network of the recipe has a ResNet-50.
    """
    if file and not any(map(resnets, stages.values())):
        raise UserError(
            f"config.resnet50 is {file}, but no network of {', '.join(stages)} has a ResNet-50; "
            f'leave it empty, or set networks.E_a.kind to "resnet50".'
        )


def _from_run(run: str, name: str, own: ConfigDict, stage: Stage) -> Variables:
    shapes = {network: spec.shapes()[0] for network, spec in stage.networks.items()}
    taken = [network for network in shapes if network not in own.networks.heads]
    like = {
        kind: {network: shapes[network][kind] for network in taken if kind in shapes[network]}
        for kind in ("params", "batch_stats")
    }
    folder = Path(run) / name
    if not has_checkpoint(folder):
        raise UserError(
            f"{folder} has no checkpoint: config.{name}.transfer_from names no run that trained a stage {name}; "
            f"train it first, or leave the name empty."
        )
    checkpoints = Checkpoints(folder / "checkpoints")

    def read(step: int) -> Variables:
        _check_shapes(checkpoints.shapes(step), like, folder)
        _check_networks(Path(run), name, own, taken, checkpoints.origin().get("config"))
        return checkpoints.restore_part(step, like)

    step, weights = checkpoints.first_intact(checkpoints.best_first(), read)

    def named(networks) -> str:
        return ", ".join(f"{network} ({_count(shapes[network]['params']):,} parameters)" for network in networks)

    say(f"{name}: {named(taken)} from {folder}, iteration {step}; random: {named(own.networks.heads)}.")
    return weights


def _check_shapes(saved: dict[str, tuple[int, ...]], like: Variables, folder: Path) -> None:
    wanted = {leaf: tuple(spec.shape) for leaf, spec in cast(dict, flatten_dict(like, sep="/")).items()}
    networks = {tuple(leaf.split("/")[:2]) for leaf in wanted}
    saved = {leaf: shape for leaf, shape in saved.items() if tuple(leaf.split("/")[:2]) in networks}
    if different := first_difference(saved, wanted):
        there, here = different
        raise UserError(
            f"{folder} does not fit: it has {there}, this config makes {here}; "
            f"give both recipes the same networks, or leave transfer_from empty."
        )


def _check_networks(run: Path, name: str, own: ConfigDict, taken: list[str], trained_with: dict | None) -> None:
    """Compares what shapes do not show: appearance codes that are sliced in another way have the same ones.

    Args:
        run: the folder of the run that networks are taken from.
        name: the stage's name.
        own: its section of the config.
        taken: the names of the networks.
        trained_with: the config that the checkpoint keeps; None for an older version, then config.json is read.
    """
    config = trained_with or _config(run)
    there, here = config[name]["networks"], json.loads(own.networks.to_json())
    for network in taken:
        for key, value in here[network].items():
            if there[network].get(key) != value:
                raise UserError(
                    f"{run / name} does not fit: there config.{name}.networks.{network}.{key} is "
                    f"{there[network].get(key)}, here it is {value}; give both recipes the same networks."
                )


def _config(run: Path) -> dict:
    if not (run / "config.json").is_file():
        raise UserError(f"{run}/config.json is missing; copy it from a backup, or train that run again.")
    return read_json(run / "config.json")


def _count(tree: PyTree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
