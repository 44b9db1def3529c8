"""Files that are made to run something, or to fill the memory: what docs/reliability.md says of each is tried here.

Each is refused with one sentence, within seconds and a few hundred MiB.
"""

import io
import os
import pickle
import resource
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing, contextmanager
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io

from rgbir_jax.data.decoding import decode
from rgbir_jax.datasets.files import is_image
from rgbir_jax.datasets.sysu_lists import read_ids
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.feature_file import read_features
from rgbir_jax.models.pretrained import read_state_dict
from rgbir_jax.origin import Facts, read_config
from rgbir_jax.run import load
from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.state import State
from tests.end_to_end.conftest import run
from tests.models.test_pretrained import opcodes, write_pickle, write_pth
from tests.tiny import tiny_config

# Pillow warns of an image that is large, before it is refused.
pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")

MIB = 1 << 20
FREE = 256 * MIB  # memory that a refusal may take; the bombs would need more
SECONDS = 20  # on a busy machine

unpickled: list[str] = []  # what was looked up by a pickle
sys.addaudithook(lambda event, _: unpickled.append(event) if event == "pickle.find_class" else None)


@contextmanager
def _bounded():
    """Limits memory and time of what is done inside."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + FREE, limits[1]))
    begun = time.process_time()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert time.process_time() - begun < SECONDS


class Runs:
    """Runs a command if it is unpickled."""

    def __init__(self, witness: Path):
        self.command = f"touch {witness}"

    def __reduce__(self):
        return os.system, (self.command,)


def _head(shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    """Returns the beginning of an .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue()


def _zip(path: Path, name: str, start: bytes, mib_of_zeros: int = 0) -> Path:
    """Writes a compressed entry that begins with some bytes and has that many MiB of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open(name, "w") as entry:
        entry.write(start)
        for _ in range(mib_of_zeros):
            entry.write(bytes(MIB))
    return path


def _png(width: int, height: int) -> bytes:
    """Returns the beginning of an image."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000)))


def _mat(name: bytes, shape: tuple[int, int], numbers: bytes) -> bytes:
    """Returns a MATLAB file with one compressed array of float64."""

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    parts = (6, struct.pack("<II", 6, 0)), (5, struct.pack("<ii", *shape)), (1, name), (9, numbers)
    matrix = zlib.compress(element(14, b"".join(element(*part) for part in parts)), 1)
    return bytes(124) + b"\0\1IM" + struct.pack("<II", 15, len(matrix)) + matrix


# ---------------------------------------------------------------- nothing is run


def test_a_pickle_in_an_npz_is_not_read(tmp_path):
    np.savez(tmp_path / "f.npz", feature=np.array([Runs(tmp_path / "witness")], object))
    with pytest.raises(UserError, match=r"f\.npz is not an \.npz file of plain numbers"):
        read_features(tmp_path / "f.npz")
    (tmp_path / "g.npz").write_bytes(pickle.dumps(Runs(tmp_path / "witness")))
    with pytest.raises(UserError, match=r"g\.npz is not an \.npz file of plain numbers"):
        read_features(tmp_path / "g.npz")
    assert not (tmp_path / "witness").exists()


def test_a_pickle_in_a_pth_calls_nothing(tmp_path):
    path = write_pickle(tmp_path / "w.pth", pickle.dumps({"conv1.weight": Runs(tmp_path / "witness")}, 2))
    with pytest.raises(UserError, match=r"asks for \w+\.system, which is refused"):
        read_state_dict(path)
    assert not (tmp_path / "witness").exists()


def test_an_image_that_is_a_program_is_not_given_to_ghostscript(tmp_path, monkeypatch):
    """Pillow would: it recognises a format by the file's content."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/witness\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # Pillow has looked for another one
    (tmp_path / "0001.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 50\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match=r"0001\.jpg cannot be decoded"):
        decode(tmp_path / "0001.jpg", (64, 32))
    assert not (tmp_path / "witness").exists()
    assert not is_image("0001.eps")


def test_no_checkpoint_is_unpickled(tmp_path):
    """Orbax writes arrays and JSON."""
    state = State(jnp.int32(1), {"G": {"w": jnp.arange(3.0)}}, {}, {}, {})
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(1, state)
    unpickled.clear()
    restored = Checkpoints(tmp_path).restore(1, state)
    np.testing.assert_array_equal(restored.params["G"]["w"], [0, 1, 2])
    assert not unpickled
    pickle.loads(pickle.dumps(Path("a")))
    assert unpickled  # the hook works


# ---------------------------------------------------------------- what can run code, as the page says


MODULE = "import pathlib\npathlib.Path({witness!r}).touch()\nThing = 3\n"


def test_a_run_imports_what_its_config_names(tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "of_a_run.py").write_text(MODULE.format(witness=str(tmp_path / "witness")))
    config = tiny_config()
    config.teacher.stage = "of_a_run:Thing"
    none = dict.fromkeys(("dataset", "fingerprint", "command", "commit", "started"), "")
    numbers = {"people": [1, 2], "image_size": [64, 32], "mean": [0.5], "std": [0.5]}
    Facts(**numbers, **none, config_folder=str(tmp_path / "modules"), versions={}).write(tmp_path)
    (tmp_path / "config.json").write_text(config.to_json())
    with pytest.raises(UserError, match='"of_a_run:Thing" is no Stage of rgbir_jax'):
        load(tmp_path)
    assert (tmp_path / "witness").exists()


def test_a_file_of_features_imports_the_dataset_that_it_names(tmp_path, monkeypatch):
    (tmp_path / "of_features.py").write_text(MODULE.format(witness=str(tmp_path / "witness")))
    monkeypatch.syspath_prepend(tmp_path)
    numbers = {name: np.ones(1, int) for name in ("person_id", "camera", "index")}
    np.savez(tmp_path / "f.npz", feature=np.ones((1, 2)), dataset="of_features:Thing", **numbers)
    with pytest.raises(UserError, match='"of_features:Thing" is no Dataset of rgbir_jax'):
        read_features(tmp_path / "f.npz")
    assert (tmp_path / "witness").exists()


def test_a_config_file_is_executed(tmp_path):
    (tmp_path / "config.py").write_text(MODULE.format(witness=str(tmp_path / "witness")))
    code, _, err = run("train.py", f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/run")
    assert code == 1
    assert "config.py is no config file: it defines no get_config" in err
    assert (tmp_path / "witness").exists()


# ---------------------------------------------------------------- memory and time are bounded

HOSTILE: dict[str, tuple[Callable[[Path], Path], Callable, str]] = {}  # (writes it, reads it, what is printed) by name


def _hostile(name: str, read: Callable, message: str):
    def note(write: Callable[[Path], Path]):
        HOSTILE[name] = write, read, message
        return write

    return note


@_hostile("a bomb in an .npz", read_features, r"a small file that becomes 335,544,\d+ bytes")
def _(folder):
    return _zip(folder / "f.npz", "feature.npy", _head((MIB, 40)), 320)


@_hostile("an .npz that claims terabytes", read_features, "not an .npz file of plain numbers")
def _(folder):
    return _zip(folder / "f.npz", "feature.npy", _head((1 << 40,)))


@_hostile("an .npz whose head is long", read_features, "not an .npz file of plain numbers")
def _(folder):
    return _zip(folder / "f.npz", "feature.npy", b"\x93NUMPY\2\0" + struct.pack("<I", MIB) + b"(" * MIB)


@_hostile("an encrypted .npz", read_features, "not an .npz file of plain numbers")
def _(folder):
    np.savez(folder / "f.npz", feature=np.zeros(3))
    content = bytearray((folder / "f.npz").read_bytes())
    content[6] |= 1
    content[content.rindex(b"PK\1\2") + 8] |= 1
    (folder / "f.npz").write_bytes(content)
    return folder / "f.npz"


@_hostile("a bomb in a .pth", read_state_dict, r"archive/data/0 is compressed")
def _(folder):
    storage = np.zeros(80 * MIB, np.float32)
    with (
        zipfile.ZipFile(write_pth(folder / "stored.pth", {"w": (storage, 0, storage.shape, (1,))})) as archive,
        zipfile.ZipFile(folder / "w.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
    ):
        packed.writestr("archive/data.pkl", archive.read("archive/data.pkl"), zipfile.ZIP_STORED)
        packed.writestr("archive/data/0", storage.data)
    return folder / "w.pth"


@_hostile("a .pth of many names", read_state_dict, "data.pkl is larger than the names of any network")
def _(folder):
    return write_pickle(folder / "w.pth", b"\x80\2" + b"(" * (5 * MIB))


@_hostile("a .pth with one number that is expanded", read_state_dict, "a tensor is larger than its storage")
def _(folder):
    return write_pth(folder / "w.pth", {"w": (np.zeros(1, np.float32), 0, (1 << 33,), (0,))})


@_hostile("a .pth with one storage many times", read_state_dict, "bias is not a tensor")
def _(folder):
    size = 20 * MIB
    loads = (
        b"(" + opcodes("storage") + b"ctorch\nFloatStorage\n" + opcodes("0") + opcodes("cpu") + opcodes(size) + b"tQ"
    )
    with zipfile.ZipFile(folder / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\2}(" + opcodes("bias") + b"(" + loads * 100 + b"lu.")
        archive.writestr("archive/data/0", bytes(size))
    return folder / "w.pth"


@_hostile("a .pth whose key has 2^60 parts", read_state_dict, "refers to something with many parts twice")
def _(folder):
    doubled = b"".join(b"q" + bytes([place]) + b"h" + bytes([place]) + b"\x86" for place in range(60))
    return write_pickle(folder / "w.pth", b"\x80\2}K\1" + doubled + b"K\1s.")


@_hostile("the same without a memo", read_state_dict, "refers to something twice")
def _(folder):
    return write_pickle(folder / "w.pth", b"\x80\2}K\1" + b"2\x86" * 60 + b"K\1s.")


@_hostile(
    "the same behind an operation that does nothing", read_state_dict, "refers to something with many parts twice"
)
def _(folder):
    doubled = b"".join(b"(uq" + bytes([place]) + b"h" + bytes([place]) + b"\x86" for place in range(60))
    return write_pickle(folder / "w.pth", b"\x80\2}K\1" + doubled + b"K\1s.")


@_hostile("a .pth that numbers a reference 2^31", read_state_dict, "a reference to a place far away")
def _(folder):
    return write_pickle(folder / "w.pth", b"\x80\2K\1r" + struct.pack("<I", 1 << 31) + b".")


@_hostile("a .safetensors whose head is long", read_state_dict, "cannot be read as safetensors")
def _(folder):
    (folder / "w.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    return folder / "w.safetensors"


@_hostile("a .safetensors that claims terabytes", read_state_dict, "cannot be read as safetensors")
def _(folder):
    head = b'{"w": {"dtype": "F32", "shape": [1099511627776], "data_offsets": [0, 4398046511104]}}'
    (folder / "w.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    return folder / "w.safetensors"


@_hostile("a .safetensors of numbers that NumPy does not have", read_state_dict, "cannot be read as safetensors")
def _(folder):
    head = b'{"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}'
    (folder / "w.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))
    return folder / "w.safetensors"


@_hostile("a bomb in a .mat", read_ids, "not a MATLAB file")
def _(folder):
    (folder / "id.mat").write_bytes(_mat(b"id", (1, 16 * MIB), bytes(128 * MIB)))
    return folder / "id.mat"


@_hostile("a .mat that claims gigabytes", read_ids, "not a MATLAB file")
def _(folder):
    (folder / "id.mat").write_bytes(_mat(b"id", (1 << 30, 1 << 30), bytes(8)))
    return folder / "id.mat"


@_hostile("an image bomb", lambda path: decode(path, (64, 32)), "has 9000 x 9000 pixels, which take gigabytes")
def _(folder):
    (folder / "0001.png").write_bytes(_png(9000, 9000))
    return folder / "0001.png"


@_hostile("a larger image bomb", lambda path: decode(path, (64, 32)), "has more than 50,000,000 pixels, which take")
def _(folder):
    (folder / "0001.jpg").write_bytes(_png(14_000, 14_000))
    return folder / "0001.jpg"


@_hostile("JSON that is nested deeply", lambda path: read_config(path.parent), "is damaged")
def _(folder):
    (folder / "config.json").write_text("[" * 200_000)
    return folder / "config.json"


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_and_takes_little_memory_and_time(name, tmp_path):
    write, read, message = HOSTILE[name]
    path = write(tmp_path)
    with _bounded(), pytest.raises(UserError, match=message):
        read(path)


# ---------------------------------------------------------------- what is read as before


def test_a_compressed_file_of_features_is_read(tmp_path):
    feature = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
    numbers = {"person_id": np.repeat(np.arange(1, 5), 2), "camera": np.tile([1, 3], 4), "index": np.ones(8, int)}
    np.savez_compressed(tmp_path / "f.npz", feature=feature, **numbers)
    np.testing.assert_array_equal(read_features(tmp_path / "f.npz").feature, feature)


@pytest.mark.parametrize("ids", [np.array([[6, 10, 17]], np.uint16), np.array([[6.0], [10.0], [17.0]])])
@pytest.mark.parametrize("compressed", [False, True])
def test_lists_of_matlab_are_read(tmp_path, ids, compressed):
    scipy.io.savemat(tmp_path / "id.mat", {"other": "text", "id": ids}, do_compression=compressed)
    assert read_ids(tmp_path / "id.mat").tolist() == [6, 10, 17]
    for wrong in (np.array([1.5]), np.array([-1]), np.array([2**31]), np.array([np.nan]), "text", {"a": 1}):
        scipy.io.savemat(tmp_path / "id.mat", {"id": wrong}, do_compression=compressed)
        with pytest.raises(UserError, match=r"id\.mat is not a"):
            read_ids(tmp_path / "id.mat")
