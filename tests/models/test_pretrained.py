"""Reading ResNet weight files. The files are written here byte by byte, so the tests do not need PyTorch."""

import os
import pickle
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from rgbir_jax.errors import UserError
from rgbir_jax.models.pretrained import load_resnet50, read_state_dict
from rgbir_jax.models.resnet import ResNet50
from tests.models.drawn import drawn, drawn_like

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage"}
STORAGES |= {"float64": "DoubleStorage", "int64": "LongStorage", "int32": "IntStorage"}


def opcodes(value) -> bytes:
    """Returns the pickle bytes that push a value, without the header and end of a whole pickle."""
    return pickle.dumps(value, 2)[2:-1]


def tensor_opcodes(key: int, storage: np.ndarray, offset: int, size: tuple, stride: tuple) -> bytes:
    """Encodes torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict())."""
    kind = b"ctorch\n" + STORAGES[storage.dtype.name].encode() + b"\n"
    reference = b"(" + opcodes("storage") + kind + opcodes(str(key)) + opcodes("cpu") + opcodes(storage.size) + b"tQ"
    rest = b"".join(map(opcodes, (offset, size, stride, False))) + b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + reference + rest + b"tR"


def write_pth(path: Path, tensors: dict[str, tuple]) -> Path:
    """Writes a state dict as torch.save does, from (storage, offset, size, stride) by name."""
    items = b"".join(opcodes(name) + tensor_opcodes(key, *view) for key, (name, view) in enumerate(tensors.items()))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u.")
        for key, (storage, *_) in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{key}", storage.tobytes())
    return path


def write_pickle(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return path


def contiguous(array: np.ndarray) -> tuple:
    return array.ravel(), 0, array.shape, tuple(step // array.itemsize for step in np.empty_like(array).strides)


@pytest.fixture(scope="module")
def variables():
    """Returns the variables of a ResNet with one block per stage."""
    return drawn_like(ResNet50(4, (1, 1, 1, 1)), drawn(1, 32, 32, 3), train=False)


@pytest.fixture
def state_dict(variables) -> dict[str, np.ndarray]:
    """Returns the same variables in torchvision's layout, by torchvision's names, written out here."""
    params, batch_stats = variables["params"], variables["batch_stats"]
    modules = {"conv1": "conv1", "bn1": "bn1"}
    for layer in (1, 2, 3, 4):
        for part in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3"):
            modules[f"layer{layer}.0.{part}"] = f"layer{layer}_0_{part}"
        for part in ("0", "1"):
            modules[f"layer{layer}.0.downsample.{part}"] = f"layer{layer}_0_downsample_{part}"
    tensors = {}
    for torch_module, flax_module in modules.items():
        if "kernel" in params[flax_module]:
            kernel = np.einsum("hwio->oihw", params[flax_module]["kernel"])
            tensors[f"{torch_module}.weight"] = np.ascontiguousarray(kernel)
        else:
            tensors[f"{torch_module}.weight"] = params[flax_module]["scale"]
            tensors[f"{torch_module}.bias"] = params[flax_module]["bias"]
            tensors[f"{torch_module}.running_mean"] = batch_stats[flax_module]["mean"]
            tensors[f"{torch_module}.running_var"] = batch_stats[flax_module]["var"]
            tensors[f"{torch_module}.num_batches_tracked"] = np.array(7, np.int64)
    return tensors | {"fc.weight": np.ones((10, 128), np.float32), "fc.bias": np.ones(10, np.float32)}


def save(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
        return path
    return write_pth(path, {name: contiguous(tensor) for name, tensor in tensors.items()})


@pytest.mark.parametrize("file", ["resnet.pth", "resnet.safetensors"])
def test_every_tensor_is_loaded_into_its_variable(tmp_path, variables, state_dict, file):
    loaded = load_resnet50(save(tmp_path / file, state_dict), variables)
    assert loaded.keys() == {"params", "batch_stats"}
    for kind, modules in variables.items():
        assert loaded[kind].keys() == modules.keys()
        for module, leaves in modules.items():
            assert loaded[kind][module].keys() == leaves.keys()
            for leaf, value in leaves.items():
                np.testing.assert_array_equal(loaded[kind][module][leaf], value)
                assert loaded[kind][module][leaf].dtype == np.float32


@pytest.mark.parametrize("stages", [(0,), (1, 2), (3, 4)])
def test_a_piece_takes_the_tensors_that_it_has(tmp_path, variables, state_dict, stages):
    """Non-local blocks are in no such file, so they are not in the result."""
    piece = ResNet50(4, (1, 1, 1, 1), stages, non_local=(1, 0, 0, 0))
    image = drawn(1, 32, 32, 3 if stages == (0,) else {1: 4, 3: 32}[stages[0]])
    like = jax.eval_shape(lambda x: piece.init(jax.random.key(0), x, train=False), image)
    loaded = load_resnet50(save(tmp_path / "resnet.pth", state_dict), like)
    for kind, modules in like.items():
        expected = {name: variables[kind][name] for name in modules if "non_local" not in name}
        assert expected.keys() == loaded[kind].keys()
        jax.tree.map(np.testing.assert_array_equal, loaded[kind], expected)
    del state_dict["bn1.weight" if stages == (0,) else f"layer{stages[0]}.0.conv1.weight"]
    file = save(tmp_path / "less.safetensors", state_dict)
    with pytest.raises(UserError, match="this config's ResNet has"):
        load_resnet50(file, like)


def test_a_stem_of_two_channels_takes_the_mean_of_three(tmp_path, state_dict):
    image = drawn(1, 32, 32, 2)
    stem = ResNet50(4, (1, 1, 1, 1), (0,))
    like = jax.eval_shape(lambda x: stem.init(jax.random.key(0), x, train=False), image)
    loaded = load_resnet50(save(tmp_path / "resnet.pth", state_dict), like)
    kernel = np.einsum("oihw->hwio", state_dict["conv1.weight"])
    mean = (kernel[:, :, 0] + kernel[:, :, 1] + kernel[:, :, 2]) / 3
    np.testing.assert_allclose(loaded["params"]["conv1"]["kernel"], np.stack([mean, mean], axis=2), rtol=1e-6)


@pytest.mark.parametrize("dtype", STORAGES)
def test_views_of_a_storage(tmp_path, dtype):
    storage = np.arange(20).astype(jnp.dtype(dtype))
    views = {
        "transposed": (storage, 3, (2, 4), (1, 2)),
        "expanded": (storage, 1, (3, 2), (0, 1)),
        "scalar": (storage, 19, (), ()),
    }
    read = read_state_dict(write_pth(tmp_path / "views.pth", views))
    assert {tensor.dtype for tensor in read.values()} == {jnp.dtype(dtype)}
    np.testing.assert_array_equal(read["transposed"].astype(int), [[3, 5, 7, 9], [4, 6, 8, 10]])
    np.testing.assert_array_equal(read["expanded"].astype(int), [[1, 2]] * 3)
    assert read["scalar"].astype(int) == 19


@pytest.mark.parametrize(
    ("size", "stride", "offset"), [((21,), (1,), 0), ((2,), (19,), 1), ((2,), (-1,), 0), ((1,), (1,), -1)]
)
def test_a_view_beyond_its_storage_is_refused(tmp_path, size, stride, offset):
    path = write_pth(tmp_path / "beyond.pth", {"w": (np.zeros(20, np.float32), offset, size, stride)})
    with pytest.raises(ValueError, match=r"beyond\.pth is not a plain state dict"):
        read_state_dict(path)


class Malicious:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval])
def test_a_pickle_that_calls_something_is_refused(tmp_path, function):
    witness = tmp_path / "witness"
    argument = f"touch {witness}" if function is os.system else f"open({str(witness)!r}, 'w')"
    path = write_pickle(tmp_path / "evil.pth", pickle.dumps({"conv1.weight": Malicious(function, argument)}, 2))
    with pytest.raises(ValueError, match=rf"it asks for \w+\.{function.__name__}, which is refused"):
        read_state_dict(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ctorchvision.models.resnet\nResNet\n.", r"asks for torchvision\.models\.resnet\.ResNet, which is refused"),
        (pickle.dumps({"epoch": 3}), "epoch is not a tensor"),
        (pickle.dumps(3), "not a plain state dict"),
        (pickle.dumps({"a": 1})[:-3], "not a plain state dict"),
        (b"", "not a plain state dict"),
        # BUILD on an object that the reader returns: {"__defaults__": 1} set on the function that rebuilds tensors.
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN" + opcodes({"__defaults__": 1}) + b"\x86b.", "not a plain"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_state_dict(write_pickle(tmp_path / "file.pth", content))


def test_the_error_for_the_old_format_says_how_to_convert(tmp_path):
    path = tmp_path / "old.pth"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    with pytest.raises(ValueError, match=r"old.pth is not the zip file .* torch.save\(torch.load\("):
        read_state_dict(path)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_file_of_something_else_is_to_be_downloaded_again(tmp_path, content):
    path = tmp_path / "page.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"page.pth holds no weights \(it begins with b'.*'\); download the file again"):
        read_state_dict(path)


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.encoder."])
@pytest.mark.parametrize("file", ["resnet.pth", "resnet.safetensors"])
def test_names_may_have_a_prefix(tmp_path, variables, state_dict, file, prefix):
    other = {"head.weight": np.ones((3, 4), np.float32), "neck.conv1.weight": np.ones((2, 2), np.float32)}
    path = save(tmp_path / file, {prefix + name: tensor for name, tensor in state_dict.items()} | other)
    loaded, plain = load_resnet50(path, variables), load_resnet50(save(tmp_path / f"p_{file}", state_dict), variables)
    jax.tree.map(np.testing.assert_array_equal, loaded, plain)


def test_two_networks_in_one_file_are_named(tmp_path, variables, state_dict):
    both = {f"{prefix}{name}": tensor for prefix in ("encoder_q.", "encoder_k.") for name, tensor in state_dict.items()}
    with pytest.raises(UserError, match=r'has 2 ResNets, "encoder_q." and "encoder_k."; keep one with PyTorch'):
        load_resnet50(save(tmp_path / "moco.pth", both), variables)


def test_64_bits_are_read(tmp_path, variables, state_dict):
    wide = {name: tensor.astype(np.float64) for name, tensor in state_dict.items()}
    loaded = load_resnet50(save(tmp_path / "wide.pth", wide), variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {np.dtype(np.float32)}
    jax.tree.map(np.testing.assert_array_equal, loaded, load_resnet50(save(tmp_path / "w.pth", state_dict), variables))


@pytest.mark.parametrize("keys", [("state_dict",), ("model",), ("model", "state_dict")])
def test_a_state_dict_within_a_checkpoint_is_found(tmp_path, keys):
    """As torch.save({"epoch": 3, "state_dict": model.state_dict(), "optimizer": ...}) writes it."""
    storage = np.arange(4, dtype=np.float32)
    content = b"\x80\x02}" + opcodes("w") + tensor_opcodes(0, storage, 0, (4,), (1,)) + b"s."
    for key in reversed(keys):
        inner = content[2:-1]
        others = opcodes("epoch") + opcodes(3) + opcodes("optimizer") + opcodes({"lr": 0.1})
        content = b"\x80\x02}(" + others + opcodes(key) + inner + b"u."
    path = write_pickle(tmp_path / "checkpoint.pth", content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", storage.tobytes())
    (name, tensor), *others = read_state_dict(path).items()
    assert (name, others) == ("w", [])
    np.testing.assert_array_equal(tensor, storage)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"none.pth does not exist; set config.resnet50"):
        read_state_dict(tmp_path / "none.pth")


def test_a_broken_safetensors_file(tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"\x08\0\0\0\0\0\0\0notjson!")
    with pytest.raises(ValueError, match=r"broken\.safetensors cannot be read"):
        read_state_dict(path)


def test_a_missing_tensor_is_named(tmp_path, variables, state_dict):
    del state_dict["layer3.0.bn2.running_var"]
    message = r"it has no layer3\.0\.bn2\.running_var, this config's ResNet has .*\.running_var of shape \(16,\)"
    with pytest.raises(ValueError, match=message):
        load_resnet50(save(tmp_path / "resnet.pth", state_dict), variables)


def test_an_extra_tensor_is_named(tmp_path, variables, state_dict):
    state_dict["layer1.1.conv1.weight"] = np.zeros((4, 16, 1, 1), np.float32)
    message = r"it has layer1\.1\.conv1\.weight of shape \(4, 16, 1, 1\), this config's ResNet has no layer1\.1"
    with pytest.raises(ValueError, match=message):
        load_resnet50(save(tmp_path / "resnet.pth", state_dict), variables)


def test_a_misshaped_tensor_is_named(tmp_path, variables, state_dict):
    """A ResNet-18 has such a tensor: its blocks begin with a 3x3 convolution."""
    state_dict["layer1.0.conv1.weight"] = np.zeros((4, 4, 3, 3), np.float32)
    message = r"layer1\.0\.conv1\.weight of shape \(4, 4, 3, 3\), this config's ResNet has .* of shape \(4, 4, 1, 1\)"
    with pytest.raises(ValueError, match=message):
        load_resnet50(save(tmp_path / "resnet.pth", state_dict), variables)


@pytest.mark.parametrize("file", ["resnet.pth", "resnet.safetensors"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named(tmp_path, variables, state_dict, file, value):
    state_dict["layer2.0.conv2.weight"] = state_dict["layer2.0.conv2.weight"].copy()
    state_dict["layer2.0.conv2.weight"][3, 1, 2, 0] = value
    path = save(tmp_path / file, state_dict)
    with pytest.raises(
        ValueError, match=rf"{path} is damaged: in layer2\.0\.conv2\.weight, 1 of its 576 numbers are not"
    ):
        load_resnet50(path, variables)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_nan_in_other_precisions(tmp_path, dtype):
    path = save(tmp_path / "resnet.pth", {"conv1.weight": np.array([1, np.nan, np.inf]).astype(dtype)})
    with pytest.raises(ValueError, match=r"in conv1\.weight, 2 of its 3 numbers are not finite"):
        read_state_dict(path)


def test_a_number_too_large_for_float32(tmp_path):
    path = save(tmp_path / "resnet.safetensors", {"conv1.weight": np.array([1e300, 1.0])})
    with pytest.raises(ValueError, match=r"in conv1\.weight, 1 of its 2 numbers are not finite"):
        read_state_dict(path)


@pytest.mark.parametrize("file", ["resnet.pth", "resnet.safetensors"])
def test_a_negative_variance_is_named(tmp_path, variables, state_dict, file):
    state_dict["layer4.0.bn1.running_var"] = -state_dict["layer4.0.bn1.running_var"]
    path = save(tmp_path / file, state_dict)
    with pytest.raises(
        ValueError, match=rf"{path} is damaged: in layer4\.0\.bn1\.running_var, \d+ of its \d+ variances"
    ):
        load_resnet50(path, variables)
