"""Loads torchvision's ImageNet ResNet-50 without PyTorch and converts its tensors to Flax's layout."""

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from math import prod
from pathlib import Path
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree
from safetensors.numpy import load_file

from rgbir_jax.errors import UserError
from rgbir_jax.lookup import quoted
from rgbir_jax.models.shapes import first_difference

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_STORAGES = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
# Where training programs put the state dict in what they save; the first that is there counts.
_NESTED = ("state_dict", "model_state_dict", "model", "net", "network")
_DEPTH = 3  # of a variable that torchvision's ResNet has: its kind, its layer, its leaf
_PIECES = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}  # the first part of a tensor's name
_OLD_FORMAT = pickle.dumps(0x1950A86A20F9469CFC6C, 2)[:-1]  # the first bytes of what torch.save wrote before 1.6
LARGEST_PICKLE = 1 << 22  # bytes; ResNet-50's has 50,000, because the numbers are in entries of their own
# What a pickle may refer to twice: nothing that has many parts, see `_check_references`.
_SIMPLE = {
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "GLOBAL",
    "STACK_GLOBAL",
    "BINPERSID",
    "REDUCE",
    "EMPTY_DICT",
    "EMPTY_LIST",
}


def load_resnet50(path: str | Path, like: PyTree) -> PyTree:
    """Loads the variables of `models.resnet.ResNet50`, or of a piece of it, from torchvision's state dict.

    Its classifier `fc` and the stages that a piece lacks are left out. A stem for two channels takes the mean over the
    three channels of its convolution, twice. Names may have a prefix, such as "module." or "backbone."; what has
    another name is left out then.

    Args:
        path: path of a `.pth` or `.safetensors` file.
        like: the network's `params` and `batch_stats`, arrays or `jax.ShapeDtypeStruct`s.

    Returns:
        NumPy arrays, float32, in the structure of `like` without its non-local blocks, which such a file has not.

    Raises:
        UserError: if the file does not exist.
        UserError: if the file is not a plain state dict or has impossible values (see `read_state_dict`), or if file
            and network differ. The message names the first tensor that differs, by torchvision's name.
    """
    leaves = {leaf: spec for leaf, spec in cast(dict, flatten_dict(like)).items() if len(leaf) == _DEPTH}
    names = {leaf: _torchvision_name(leaf) for leaf in leaves}
    lacks = _PIECES - {_piece(name) for name in names.values()}
    tensors = {
        name: tensor
        for name, tensor in _without_prefix(path, read_state_dict(path)).items()
        if _piece(name) not in lacks and not name.endswith(".num_batches_tracked")
    }
    wanted = {names[leaf]: _torch_shape(spec.shape) for leaf, spec in leaves.items()}
    first = tensors.get("conv1.weight")
    if first is not None and first.shape[1:2] == (3,) and wanted.get("conv1.weight", ())[1:2] == (2,):
        tensors["conv1.weight"] = first.astype(np.float32).mean(axis=1, keepdims=True).repeat(2, axis=1)
    saved = {name: tensor.shape for name, tensor in tensors.items()}
    if different := first_difference(saved, wanted):
        there, here = different
        raise UserError(
            f"{path} is for another network: it has {there}, this config's ResNet has {here}; "
            f"use torchvision's resnet50, which has width 64 and blocks (3, 4, 6, 3)."
        )
    return unflatten_dict({leaf: _our_layout(tensors[name]) for leaf, name in names.items()})


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a file by name, in PyTorch's layout and the file's precision.

    Raises:
        UserError: as in `load_resnet50`. Impossible values are NaN, infinities,
            numbers that overflow in float32, and negative running variances.
    """
    if not Path(path).is_file():
        raise UserError(
            f"{path} does not exist; set config.resnet50 to torchvision's file, or leave it empty for random weights."
        )
    tensors = _read_safetensors(path) if Path(path).suffix == ".safetensors" else _read_pth(path)
    for name, tensor in tensors.items():
        _check_values(path, name, tensor)
    return tensors


def _without_prefix(path: str | Path, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the tensors of the one ResNet in a file by torchvision's names."""
    starts = [name.removesuffix("conv1.weight") for name in tensors if name.endswith("conv1.weight")]
    prefixes = [start for start in starts if f"{start}layer1.0.conv1.weight" in tensors]
    if len(prefixes) > 1:
        raise UserError(
            f"{path} has {len(prefixes)} ResNets, {' and '.join(map(quoted, prefixes))}; keep one with PyTorch: "
            f"torch.save({{name: w for name, w in tensors.items() if name.startswith({prefixes[0]!r})}}, FILE)."
        )
    prefix = prefixes[0] if prefixes else ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except Exception as error:  # KeyError for a type that NumPy does not have
        raise UserError(f"{path} cannot be read as safetensors ({error}); download the file again.") from error


def _read_pth(path: str | Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        with Path(path).open("rb") as file:
            begin = file.read(len(_OLD_FORMAT))
        if begin == _OLD_FORMAT:
            raise UserError(
                f"{path} is not the zip file that torch.save writes since PyTorch 1.6; convert it on a machine with "
                f"PyTorch: import torch; torch.save(torch.load({str(path)!r}, weights_only=True), 'resnet50.pth')"
            )
        raise UserError(f"{path} holds no weights (it begins with {begin!r}); download the file again.")
    try:
        with zipfile.ZipFile(path) as archive:
            (entry,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            tensors = _state_dict(_TensorUnpickler(archive, entry).load())
        for name, value in tensors.items():
            if not isinstance(value, np.ndarray):
                raise pickle.UnpicklingError(f"{name} is not a tensor")
    except Exception as error:  # a broken pickle can raise anything
        raise UserError(
            f"{path} is not a plain state dict: {str(error)[:200]}; write one with torch.save(model.state_dict(), "
            f"FILE), where model is the network that was trained."
        ) from error
    return tensors


def _state_dict(content: Any) -> dict[str, Any]:
    """Finds the state dict in what a training program saved, next to an optimiser and counters."""
    for key in _NESTED:
        if isinstance(content.get(key), dict):
            return _state_dict(content[key])
    return content


def _check_values(path: str | Path, name: str, tensor: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        values = tensor.astype(np.float32, copy=False)
    problem = ""
    if not np.isfinite(values).all():
        problem = f"{np.sum(~np.isfinite(values))} of its {values.size} numbers are not finite"
    elif name.endswith("running_var") and np.any(values < 0):
        problem = f"{np.sum(values < 0)} of its {values.size} variances are negative"
    if problem:
        raise UserError(f"{path} is damaged: in {name}, {problem}; download the file again.")


class _TensorUnpickler(pickle.Unpickler):
    """Rebuilds tensors as NumPy arrays and calls nothing else, whatever the pickle contains.

    It returns only bound methods, strings and the class OrderedDict, none of which a pickle can modify.
    """

    def __init__(self, archive: zipfile.ZipFile, entry: str):
        self._archive, self._folder = archive, entry.removesuffix("data.pkl")
        self._storages: dict[str, bytes] = {}
        if archive.getinfo(entry).file_size > LARGEST_PICKLE:
            raise pickle.UnpicklingError(f"{entry} is larger than the names of any network")
        content = self._content(entry)
        _check_references(content)
        super().__init__(io.BytesIO(content))

    def _content(self, entry: str) -> bytes:
        """Reads an entry as it is stored: torch.save compresses none, and some bytes could become gigabytes."""
        if self._archive.getinfo(entry).compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError(f"{entry} is compressed")
        return self._archive.read(entry)

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
        """Returns the element type and the bytes of a storage."""
        kind, dtype, key, *_ = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"it asks for a {kind}, which is refused")
        if key not in self._storages:
            self._storages[key] = self._content(f"{self._folder}data/{key}")
        return jnp.dtype(dtype), self._storages[key]

    def _tensor(self, storage, offset, size, stride, *_) -> np.ndarray:
        """Returns a view of a storage. Offset and strides count elements. NumPy raises if it exceeds the bytes."""
        dtype, data = storage
        if prod(size) * dtype.itemsize > len(data):  # with strides of 0, one number could become any number of them
            raise pickle.UnpicklingError("a tensor is larger than its storage")
        return np.ndarray(size, dtype, data, offset * dtype.itemsize, [step * dtype.itemsize for step in stride])

    def _parameter(self, tensor, *_) -> np.ndarray:
        if not isinstance(tensor, np.ndarray):
            raise pickle.UnpicklingError("a parameter is not a tensor")
        return tensor


def _check_references(content: bytes) -> None:
    """Refuses a small pickle that would take gigabytes or hours.

    A tuple of twice the same tuple, forty times, has a trillion parts, and each of them is hashed if it is a key. A
    place in the memo takes memory for all places before it.
    """
    simple: list[bool] = []  # by place in the memo
    is_simple = False  # whether the last operation made something without parts
    for operation, argument, _ in pickletools.genops(content):
        place: Any = argument  # an int of those that name one
        match operation.name:
            case "MEMOIZE":
                simple.append(is_simple)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                if place > len(simple):
                    raise pickle.UnpicklingError("it has a reference to a place far away")
                simple[place : place + 1] = [is_simple]
            case "GET" | "BINGET" | "LONG_BINGET" if not simple[place]:
                raise pickle.UnpicklingError("it refers to something with many parts twice")
            case "DUP":
                raise pickle.UnpicklingError("it refers to something twice")
            case name:
                is_simple = name in _SIMPLE


def _torchvision_name(leaf: tuple[str, ...]) -> str:
    """Returns torchvision's name: ("params", "layer1_0_conv1", "kernel") -> "layer1.0.conv1.weight"."""
    _, module, name = leaf
    return f"{module.replace('_', '.')}.{_LEAVES[name]}"


def _piece(name: str) -> str:
    return name.partition(".")[0]


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns PyTorch's shape: [height, width, in, out] -> [out, in, height, width]; vectors are unchanged."""
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else tuple(shape)


def _our_layout(tensor: np.ndarray) -> np.ndarray:
    """Returns a float32 copy, transposed [out, in, height, width] -> [height, width, in, out] unless a vector."""
    return np.array(tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor, np.float32, order="C")
