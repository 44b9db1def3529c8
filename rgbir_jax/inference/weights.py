"""The weights that features and images need, as one small .safetensors file.

A tensor is named STAGE/KIND/NETWORK/..., KIND being `params` or `batch_stats`, such as
`image/params/E_a/trunk/conv1/kernel`. Matrices and kernels are float16, or int8 with their scales as NAME/scale;
biases, other scales and statistics are float32.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from rgbir_jax.errors import UserError
from rgbir_jax.files import writing
from rgbir_jax.inference.quantization import quantize
from rgbir_jax.models.shapes import first_difference
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State, path_name

FILE = "weights.safetensors"
SCALE = "/scale"  # follows the name of an int8 tensor


def write(path: Path, stages: dict[str, Stage], states: dict[str, State], int8: bool = False) -> None:
    """Writes the weights of stages, without what only training uses.

    Args:
        path: the file.
        stages: the stages by name.
        states: their States.
        int8: whether matrices and kernels are int8.

    Raises:
        UserError: for a weight that float16 cannot hold, or a file that cannot be written.
    """
    tensors = {}
    for name, stage in stages.items():
        params, batch_stats = jax.device_get((states[name].params, states[name].batch_stats))
        for key, weight in _needed(name, stage, params, batch_stats).items():
            if int8 and weight.ndim > 1:
                tensors[key], tensors[f"{key}{SCALE}"] = quantize(weight)
                continue
            with np.errstate(over="ignore"):  # to infinity, which is refused
                tensors[key] = np.asarray(weight, np.float16 if weight.ndim > 1 else np.float32)
            if not np.isfinite(tensors[key]).all():
                raise UserError(f"{key} has numbers that float16 cannot hold, so {path} is not written.")
    with writing(path):
        path.write_bytes(save(tensors))


def read(path: Path, name: str, stage: Stage) -> State:
    """Reads the State of a stage, float32. What only training uses is zero, and there is no optimiser.

    Args:
        path: the file.
        name: the stage's name.
        stage: the stage; its networks have the shapes.

    Raises:
        UserError: for a file that is damaged or of another model.
    """
    try:
        tensors = _dequantized(load_file(path))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); export the run once more.") from error
    params, batch_stats = _variables(stage)
    wanted = shapes(name, stage)
    saved = {key: tensor.shape for key, tensor in tensors.items() if key.startswith(f"{name}/")}
    if different := first_difference(saved, wanted):
        there, here = different
        raise UserError(f"{path} does not fit its config: it has {there}, the config makes {here}.")

    def filled(path, spec):
        key = f"{name}/{path_name(path)}"
        return np.asarray(tensors[key], np.float32) if key in wanted else np.zeros(spec.shape, np.float32)

    return jax.tree_util.tree_map_with_path(filled, State(np.int32(0), params, batch_stats, {}))


def shapes(name: str, stage: Stage) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a stage's tensors by name."""
    return {key: tuple(spec.shape) for key, spec in _needed(name, stage, *_variables(stage)).items()}


def _variables(stage: Stage) -> tuple[PyTree, PyTree]:
    """Returns the shapes of all parameters and running statistics, by network."""
    variables = {network: spec.shapes()[0] for network, spec in stage.networks.items()}
    params, batch_stats = (
        {network: kinds[kind] for network, kinds in variables.items() if kind in kinds}
        for kind in ("params", "batch_stats")
    )
    return params, batch_stats


def _dequantized(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Multiplies each int8 tensor by its scale."""
    quantized = [key for key, tensor in tensors.items() if tensor.dtype == np.int8]
    scales = {key: tensors.pop(f"{key}{SCALE}") for key in quantized}
    return tensors | {key: tensors[key] * scale for key, scale in scales.items()}


def _needed(name: str, stage: Stage, params: PyTree, batch_stats: PyTree) -> dict[str, Any]:
    """Returns the leaves that the file has, by the tensor's name."""
    leaves = jax.tree_util.tree_leaves_with_path(State(None, params, batch_stats, {}))
    named = {path_name(path): leaf for path, leaf in leaves}
    unused = tuple(f"params/{part}/" for part in stage.unused_after_training)
    return {f"{name}/{key}": leaf for key, leaf in named.items() if not key.startswith(unused)}
