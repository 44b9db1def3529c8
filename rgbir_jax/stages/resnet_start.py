"""ResNets that start from an earlier stage, as they otherwise start from an ImageNet file."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from rgbir_jax.errors import UserError
from rgbir_jax.lookup import quoted
from rgbir_jax.models.resnet import ResNet50
from rgbir_jax.stages.inputs import input_of
from rgbir_jax.training import transfer
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State


def start_resnets(stage: Stage, state: State, previous: dict[str, State]) -> State:
    """Gives every ResNet-50 of a stage the layers of E_a of the earlier stage that its `start_from` names, if any.

    A network that has only a piece of the ResNet takes the layers of this piece. What E_a does not have stays fresh,
    such as non-local blocks.

    Args:
        stage: the stage.
        state: its fresh state.
        previous: the states of earlier stages by name.
    """
    if not (start := stage.config.get("start_from", "")):
        return state
    trunks = {kind: getattr(previous[start], kind)["E_a"]["trunk"] for kind in ("params", "batch_stats")}
    # Arrays are donated, so no two networks may share a buffer.
    weights = {
        kind: {
            network: {"trunk": {layer: jax.tree.map(jnp.copy, trunk[layer]) for layer in own[kind] if layer in trunk}}
            for network, own in transfer.resnets(stage).items()
        }
        for kind, trunk in trunks.items()
    }
    return transfer.start(state, weights)


def check_resnet_start(
    recipe: ConfigDict, name: str, own: Mapping[str, ConfigDict], keys: Sequence[str] = ("width", "blocks")
) -> None:
    """Checks that the stage which `start_from` names, if any, has an E_a with the ResNet-50s of a stage.

    Args:
        recipe: the whole config.
        name: the name of the stage that starts from it.
        own: the sections of its ResNets by their names in config.NAME.networks.
        keys: what must be equal. Width and blocks give the shapes; a ResNet also fits if its last stage has another
            stride, as those from ImageNet do.

    Raises:
        UserError: if it has not. The message names the first difference.
    """
    if not (start := recipe[name].get("start_from", "")):
        return
    encoder = recipe[start].networks.get("E_a", {})
    if encoder.get("kind") != "resnet50":
        raise UserError(
            f"{name} starts from the ResNet-50 of an E_a, and {start} has none; leave config.{name}.start_from empty, "
            f"or name a classifier or image stage with a ResNet-50."
        )
    if input_of(recipe[start]) == "zero_padded":
        raise UserError(
            f"{name} starts from {start}, whose ResNet sees images of 2 channels; set config.{start}.input to "
            f'"rgb" or "grey", or leave config.{name}.start_from empty.'
        )
    for network, section in own.items():
        for key in keys:
            here, there = (some.get(key, getattr(ResNet50, key)) for some in (section, encoder))
            if here != there:
                raise UserError(
                    f"{name} starts from {start}: set config.{start}.networks.E_a.{key} to {quoted(here)} as well, not "
                    f"{quoted(there)}; or config.{name}.networks.{network}.{key} to the latter."
                )
