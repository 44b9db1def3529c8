"""Converts linen variables to the twin's, which have other names and layouts."""

import numpy as np
import torch
from torch import nn

from benchmarks.torch_twin.networks import AppearanceEncoder, Discriminator, Generator, IdentityHead, StructureEncoder

_LEAVES = {"kernel": "weight", "scale": "weight", "gain": "weight", "bias": "bias"}
_STATISTICS = {"mean": "running_mean", "var": "running_var"}


def load(network: nn.Module, params: dict, batch_stats: dict | None = None) -> None:
    """Loads a linen network's variables into its twin.

    Raises:
        KeyError: if one of the two has a variable that the other does not have.
    """
    converted = convert(network, params) | (convert(network, batch_stats, _STATISTICS) if batch_stats else {})
    wanted = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    if not batch_stats:
        wanted = {name for name, _ in network.named_parameters()}
    if wanted != set(converted):
        raise KeyError(f"the twin and the network differ in {', '.join(sorted(wanted ^ set(converted)))}.")
    network.load_state_dict(converted, strict=False)


def convert(network: nn.Module, tree: dict, leaves: dict[str, str] = _LEAVES) -> dict[str, torch.Tensor]:
    """Converts a linen network's parameters, or a tree like them such as gradients, to the twin's names and layouts."""
    twin_of = {linen: twin for twin, linen in linen_paths(network).items()}
    converted = {}

    def walk(node, path):
        for key, child in node.items():
            if isinstance(child, dict):
                walk(child, f"{path}/{key}".lstrip("/"))
            else:
                array = np.asarray(child)
                array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T  # [h, w, in, out], [in, out]
                converted[f"{twin_of[path]}.{leaves[key]}"] = torch.from_numpy(array.copy())

    walk(tree, "")
    return converted


def linen_paths(network: nn.Module) -> dict[str, str]:
    """Returns the linen path of each module of the twin; linen numbers the modules of a class in the order of calls."""

    def convs(names):
        return {name: f"Conv_{i}/conv" for i, name in enumerate(names)}

    blocks = {f"blocks.{i}.convs.{j}": f"ResidualBlock_{i}/Conv_{j}/conv" for i in range(4) for j in range(2)}
    match network:
        case StructureEncoder():
            stem = [f"stem.{i}" for i in range(4)]
            pyramid = ["undilated", *(f"{name}.{i}" for i in range(3) for name in ("reductions", "dilated"))]
            return blocks | convs([*stem, *pyramid, "fusion"])
        case AppearanceEncoder():
            names = [name for name, module in network.trunk.named_modules() if not list(module.children()) and name]
            return {f"trunk.{name}": f"trunk/{name.replace('.', '_')}" for name in names}
        case IdentityHead():
            return {name: name for name in ("bottleneck_layer", "norm", "classifier")}
        case Generator():
            mlps = {
                f"{kind}.{i}.{2 * layer}": f"{kind}_{i}/Dense_{layer}"
                for kind in ("scale", "bias")
                for i in range(4)
                for layer in range(3)
            }
            norms = {f"norms.{i}": f"LayerNorm_{i}" for i in range(2)}
            return mlps | blocks | norms | convs(["ups.0", "ups.1", "lasts.0", "lasts.1", "lasts.2"])
        case Discriminator():
            scale = blocks | convs([*(f"stem.{i}" for i in range(5)), "logit"])
            return {
                f"scales.{i}.{twin}": f"scale_{i}/{linen}"
                for i in range(len(network.scales))
                for twin, linen in scale.items()
            }
        case _:
            raise TypeError(f"{type(network).__name__} has no linen counterpart.")
