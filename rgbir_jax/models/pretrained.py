"""The ResNet-50 that torchvision trained on ImageNet: its file read without PyTorch, its tensors in our layout."""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import cast

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_STORAGES = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
}


def load_resnet50(path: str | Path, like: PyTree) -> PyTree:
    """Variables of `models.resnet.ResNet50` from torchvision's state dict; its classifier `fc` is not taken.

    Args:
        path: of a `.pth` file or, with the package safetensors, a `.safetensors` file.
        like: the network's `params` and `batch_stats`, arrays or `jax.ShapeDtypeStruct`s.

    Returns:
        NumPy arrays, float32, in the structure of `like`.

    Raises:
        FileNotFoundError: for an absent file.
        ImportError: for a `.safetensors` file without the package.
        ValueError: for a file that is not a plain state dict, and for the first tensor, by torchvision's name, that
            only one of file and network has, that has another shape, or that has an impossible value (see
            `read_state_dict`).
    """
    tensors = {
        name: tensor
        for name, tensor in read_state_dict(path).items()
        if not name.startswith("fc.") and not name.endswith(".num_batches_tracked")
    }
    leaves = cast(dict, flatten_dict(like))
    names = {leaf: _torchvision_name(leaf) for leaf in leaves}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    wanted = {names[leaf]: _torch_shape(spec.shape) for leaf, spec in leaves.items()}
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f"{path} is of another network: it has {_say(found, name)}, this config's ResNet has "
                f"{_say(wanted, name)}; take torchvision's resnet50, which has width 64 and blocks (3, 4, 6, 3)."
            )
    return unflatten_dict({leaf: _our_layout(tensors[name]) for leaf, name in names.items()})


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a file by name, in PyTorch's layout and the file's precision.

    Raises:
        FileNotFoundError, ImportError, ValueError: as `load_resnet50`. Impossible values are NaN, infinities, numbers
            that overflow in float32, and running variances below zero.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path} is not there; set config.resnet50 to torchvision's file, or leave it empty for random weights."
        )
    tensors = _read_safetensors(path) if Path(path).suffix == ".safetensors" else _read_pth(path)
    for name, tensor in tensors.items():
        _check_values(path, name, tensor)
    return tensors


def _read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ImportError(f"{path} needs the package safetensors; pip install 'rgbir-jax[pretrained]'.") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as safetensors ({error}); get the file anew.") from error


def _read_pth(path: str | Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is not the zip file that torch.save writes since PyTorch 1.6; where PyTorch is installed, convert "
            f"it with: import torch; torch.save(torch.load('{path}', weights_only=True), 'resnet50.pth')"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            (entry,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            tensors = _TensorUnpickler(archive, entry).load()
        for name, value in tensors.items():
            if not isinstance(value, np.ndarray):
                raise pickle.UnpicklingError(f"{name} is not a tensor")
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(
            f"{path} is not a plain state dict: {error}; write one with torch.save(model.state_dict(), FILE)."
        ) from error
    return tensors


def _check_values(path: str | Path, name: str, tensor: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        values = tensor.astype(np.float32, copy=False)
    wrong = ""
    if not np.isfinite(values).all():
        wrong = f"{np.sum(~np.isfinite(values))} of its {values.size} numbers are not finite"
    elif name.endswith("running_var") and np.any(values < 0):
        wrong = f"{np.sum(values < 0)} of its {values.size} variances are negative"
    if wrong:
        raise ValueError(f"{path} is damaged: in {name}, {wrong}; download the file again.")


class _TensorUnpickler(pickle.Unpickler):
    """Rebuilds tensors as NumPy arrays and calls nothing else, whatever the pickle asks for.

    What it hands out are bound methods, strings and the class OrderedDict, none of which a pickle can change.
    """

    def __init__(self, archive: zipfile.ZipFile, entry: str):
        super().__init__(io.BytesIO(archive.read(entry)))
        self._archive, self._folder = archive, entry.removesuffix("data.pkl")

    def find_class(self, module: str, name: str):
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch._utils", "_rebuild_tensor_v2":
                return self._tensor
            case "torch._utils", "_rebuild_parameter":
                return self._parameter
            case "torch", _ if name in _STORAGES:
                return _STORAGES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused")

    def persistent_load(self, pid) -> tuple[np.dtype, bytes]:
        """A storage: its elements' type and its bytes."""
        kind, dtype, key, *_ = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"it asks for a {kind}, which is refused")
        return jnp.dtype(dtype), self._archive.read(f"{self._folder}data/{key}")

    def _tensor(self, storage, offset, size, stride, *_) -> np.ndarray:
        """A view of a storage; NumPy refuses one that reaches beyond its bytes. Offset and strides count elements."""
        dtype, data = storage
        return np.ndarray(size, dtype, data, offset * dtype.itemsize, [step * dtype.itemsize for step in stride])

    def _parameter(self, tensor, *_) -> np.ndarray:
        return tensor


def _torchvision_name(leaf: tuple[str, ...]) -> str:
    """("params", "layer1_0_conv1", "kernel") -> "layer1.0.conv1.weight"."""
    _, module, name = leaf
    return f"{module.replace('_', '.')}.{_LEAVES[name]}"


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[height, width, in, out] -> [out, in, height, width]; vectors stay."""
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else tuple(shape)


def _our_layout(tensor: np.ndarray) -> np.ndarray:
    """[out, in, height, width] -> [height, width, in, out], a float32 copy; vectors stay."""
    return np.array(tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor, np.float32, order="C")


def _say(shapes: dict[str, tuple[int, ...]], name: str) -> str:
    return f"{name} of shape {shapes[name]}" if name in shapes else f"no {name}"
