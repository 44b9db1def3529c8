"""Files of any bytes: every reader returns a value or raises a UserError, soon, and runs nothing.

Hypothesis writes bytes of its own, changes files that are right, and joins words that belong into such files.
"""

import io
import json
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save

from rgbir_jax.data.decoding import decode
from rgbir_jax.datasets import folders, market1501, regdb, sysu_mm01
from rgbir_jax.datasets.sysu_lists import read_ids, read_permutations
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.feature_file import read_features
from rgbir_jax.models.pretrained import read_state_dict
from rgbir_jax.origin import Facts, read_config
from tests.datasets.test_sysu_lists import write_permutations
from tests.models.test_pretrained import opcodes, tensor_opcodes, write_pickle, write_pth

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")

SECONDS = 5  # of processor time, for one file
PROGRAMS = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect")
_started: list[str] = []
sys.addaudithook(lambda event, _: _started.append(event) if event in PROGRAMS else None)


class Reader(NamedTuple):
    """A reader to try.

    Attributes:
        name: the file's name.
        content: a file that it reads.
        read: (path) -> what the file holds.
        words: pieces of such a file.
    """

    name: str
    content: bytes
    read: Callable
    words: tuple[bytes, ...] = ()


def _written(write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "file"))
        return Path(folder, "file").read_bytes()


def _saved(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _matlab(content: dict, compressed: bool = False) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, content, do_compression=compressed)
    return file.getvalue()


def _image(kind: str) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 5, 3), np.uint8)
    Image.fromarray(pixels).convert({"XBM": "1", "GIF": "P"}.get(kind, "RGB")).save(file, kind)
    return file.getvalue()


def _tree(read: Callable, files: dict[str, bytes], name: str) -> Callable:
    """Makes a reader of one file of a tree, in which the other files are right."""

    def of_file(path: Path):
        root = path.parent / "tree"
        if not root.is_dir():
            _write_tree(root, files)
        shutil.copy(path, root / name)
        return read(root)

    return of_file


def _write_tree(root: Path, files: dict[str, bytes]) -> None:
    for place, content in files.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(content)


def _decoded(path: Path) -> np.ndarray:
    return decode(path, (8, 4))


NUMBERS = (b"1", b"2", b"0", b"-1", b"99999999999", b"1" * 5000, "١".encode(), "²".encode(), b"1.5", b"nan", b"1_0")
BREAKS = (b",", b";", b" ", b"\t", b"\n", b"\r", b"\r\n", b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b'"', "\u2028".encode())
SYSU = {f"cam{camera}/{person:04d}/0001.jpg": b"" for camera in range(1, 7) for person in (1, 2)} | {
    "exp/train_id.txt": b"1", "exp/val_id.txt": b"", "exp/test_id.txt": b"2",
}  # fmt: skip
OWN = {f"{kind}/{person}/1.png": b"" for kind in ("rgb", "ir") for person in ("anna", "ben", "carl")}
REGDB = {f"{kind}/{person}/a_{person}.bmp": b"" for kind in ("Visible", "Thermal") for person in (1, 2)} | {
    f"idx/{split}_{kind.lower()}_1.txt": f"{kind}/{person}/a_{person}.bmp 0".encode()
    for split, person in (("train", 1), ("test", 2))
    for kind in ("Visible", "Thermal")
}
MARKET = {f"{folder}/0002_c1s1_000451_03.jpg": b"" for folder in ("bounding_box_train", "bounding_box_test", "query")}
PATHS = (b"Visible/1/a_1.bmp", b"Visible/1/", b"../x", b"/etc/passwd", b"x" * 300, b"Thermal/99999999999/a", b"\xff")
FEATURES = {"person_id": np.array([1, 2]), "camera": np.array([1, 3]), "index": np.array([1, 1])}
STORAGE = np.arange(4, dtype=np.float32)
VIEW = (STORAGE, 0, (2, 2), (2, 1))
PICKLED = (
    *map(opcodes, ("w", "state_dict", 3, -1, 2**70, 1.5, None, True, (2, 2), [1], {"a": 1})), tensor_opcodes(0, *VIEW),
    *(bytes([code]) for code in b"(]})tldsaeRbQ012.\x81\x85\x86\x87\x8f\x90\x91\x93\x94\x95"), b"u.", b"q\0", b"q\7",
    b"h\0", b"h\7", b"\x82\1", b"\x80\4", b"c__builtin__\neval\n", b"cos\nsystem\n", b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nLongStorage\n",
    b"ctorch._utils\n_rebuild_parameter\n", b"r\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8, b"P0\n", b"I1\n", b"Vx\n",
)  # fmt: skip
FACTS = {
    "people": [1], "image_size": [64, 32], "mean": [0.5], "std": [0.2], "dataset": "d", "fingerprint": "f",
    "config_folder": "", "command": "c", "commit": "", "started": "s", "versions": {},
}  # fmt: skip
JSON_WORDS = (b"[", b"]", b"{", b"}", b'"recipe"', b":", b",", b"NaN", b"1e999", b'"\\ud800"', b"null", b"[" * 5000)


def _pickled(path: Path):
    """Reads bytes as the pickle within a .pth."""
    return read_state_dict(write_pickle(path.with_suffix(".zipped"), path.read_bytes()))


def _pickled_with_storage(path: Path):
    with zipfile.ZipFile(path.with_suffix(".zipped"), "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\2}(" + path.read_bytes() + b"u.")
        archive.writestr("archive/data/0", STORAGE.tobytes())
    return read_state_dict(path.with_suffix(".zipped"))


READERS = {
    "id list": Reader("test_id.txt", b"6,10,17\n", read_ids, NUMBERS + BREAKS),
    "id list of MATLAB": Reader("test_id.mat", _matlab({"id": np.array([[6, 10, 17]], np.uint16)}), read_ids),
    "id list of MATLAB, compressed": Reader("i.mat", _matlab({"id": np.arange(9)}, compressed=True), read_ids),
    "permutations": Reader(
        "p.mat", _written(lambda path: write_permutations(f"{path}", {(4, 2): np.ones((10, 1))})), read_permutations
    ),
    "SYSU-MM01's lists": Reader(
        "ids", b"2", _tree(sysu_mm01.read, SYSU, "exp/test_id.txt"), NUMBERS + BREAKS
    ),
    "RegDB's lists": Reader(
        "list", REGDB["idx/test_thermal_1.txt"], _tree(regdb.read, REGDB, "idx/test_thermal_1.txt"),
        PATHS + NUMBERS + BREAKS,
    ),
    "lists of own folders": Reader(
        "list", b"anna\n", _tree(folders.read, OWN, "test.txt"), (b"anna", b"ben", b"carl", *NUMBERS, *BREAKS)
    ),
    "cameras.csv": Reader(
        "table", b"path,camera\n" + b"".join(f"{path},1\n".encode() for path in OWN),
        _tree(folders.read, OWN, "cameras.csv"),
        (b"path,camera", b"path;camera", *(path.encode() for path in OWN), b"x" * 200_000, *NUMBERS, *BREAKS),
    ),
    "features": Reader("f.npz", _saved(feature=np.eye(2), **FEATURES), read_features),
    "features of strange arrays": Reader(
        "f.npz",
        _saved(feature=np.eye(2), dataset="regdb", split=np.array(["test"] * 2), modality=np.ones(2), **FEATURES),
        read_features,
    ),
    "weights, .pth": Reader("w.pth", _written(lambda path: write_pth(path, {"w": VIEW})), read_state_dict),
    "weights, the pickle of a .pth": Reader("w.pkl", b"\x80\2}" + opcodes("w") + opcodes(1) + b"s.", _pickled, PICKLED),
    "weights, tensors of a .pth": Reader(
        "w.pkl", opcodes("w") + tensor_opcodes(0, *VIEW), _pickled_with_storage, PICKLED
    ),
    "weights, .safetensors": Reader("w.safetensors", save({"w": np.eye(2)}), read_state_dict),
    "run.json": Reader("run.json", json.dumps(FACTS).encode(), lambda path: Facts.read(path.parent), JSON_WORDS),
    "config.json": Reader(
        "config.json", b'{"recipe": ["teacher"]}', lambda path: read_config(path.parent), JSON_WORDS
    ),
    **{
        f"image, {kind}": Reader("0001.jpg", _image(kind), _decoded)
        for kind in ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "XBM", "SGI", "JPEG2000")
    },
}  # fmt: skip


def _changed(content: bytes) -> st.SearchStrategy[bytes]:
    """Changes a few bytes, or cuts the file."""
    places = st.integers(0, len(content) - 1)
    edits = st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)

    def edited(changes: list[tuple[int, int]], end: int) -> bytes:
        changed = bytearray(content)
        for place, byte in changes:
            changed[place] = byte
        return bytes(changed[:end])

    return st.builds(edited, edits, st.just(len(content)) | places)


def _files(reader: Reader) -> st.SearchStrategy[bytes]:
    kinds = [_changed(reader.content), st.binary(max_size=200)]
    if reader.words:
        kinds.append(st.lists(st.sampled_from(reader.words) | st.binary(max_size=3), max_size=12).map(b"".join))
    return st.one_of(kinds)


def _assert_sentence(read: Callable[[], object]) -> None:
    """Reads something. If it is refused, the message must be one sentence, which any terminal can print."""
    message = ""
    try:
        read()
    except UserError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1
    assert "\x1b" not in message
    message.encode()  # it has no surrogates
    assert len(message) < 1000


def _read(reader: Reader, folder: Path, content: bytes) -> None:
    path = folder / reader.name
    path.write_bytes(content)
    _started.clear()
    begun = time.process_time()
    _assert_sentence(partial(reader.read, path))
    assert time.process_time() - begun < SECONDS
    assert not _started


def _settings(examples: int, **changes) -> settings:
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=checks, print_blob=True, **changes
    )


@pytest.mark.parametrize("name", READERS)
@_settings(20, derandomize=True)
@given(data=st.data())
def test_any_bytes_are_read_or_refused(name, tmp_path, data):
    _read(READERS[name], tmp_path, data.draw(_files(READERS[name])))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@_settings(1000)
@given(data=st.data())
def test_any_bytes_are_read_or_refused_many(name, tmp_path, data):
    _read(READERS[name], tmp_path, data.draw(_files(READERS[name])))


@pytest.mark.parametrize("name", READERS)
def test_the_file_that_is_changed_is_right(name, tmp_path):
    reader = READERS[name]
    (tmp_path / reader.name).write_bytes(reader.content)
    if name in ("weights, the pickle of a .pth", "features of strange arrays"):
        with pytest.raises(UserError):
            reader.read(tmp_path / reader.name)
    else:
        assert reader.read(tmp_path / reader.name) is not None


# ---------------------------------------------------------------- names of files and folders

NAMES = st.one_of(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.binary(min_size=1, max_size=40).map(os.fsdecode),  # what is not UTF-8 reaches Python as surrogates
    st.from_regex(r"-?[0-9]{1,12}(_c[0-9]{1,3}s[0-9]_1_1)?", fullmatch=True),
).filter(lambda name: "/" not in name and "\0" not in name and name not in (".", ".."))
TREES = {
    "SYSU-MM01": (sysu_mm01.read, SYSU, "cam1/{}/{}.jpg"),
    "own folders": (folders.read, OWN, "rgb/{}/{}.png"),
    "Market-1501": (market1501.read, MARKET, "query/{}{}.jpg"),
}


def _read_tree(name: str, folder: Path, names: list[str]) -> None:
    read, files, place = TREES[name]
    root = folder / "tree"
    shutil.rmtree(root, ignore_errors=True)
    _write_tree(root, files)
    for one, other in zip(names, reversed(names), strict=True):
        path = root / place.format(one, other)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError:  # a file is in the place of the folder, or the name is too long
            continue
    _assert_sentence(partial(read, root))


@pytest.mark.parametrize("name", TREES)
@_settings(15, derandomize=True)
@given(names=st.lists(NAMES, min_size=1, max_size=4))
@example(["\n"])
@example(["\u2028\x1b[2J\udcff"])
def test_any_names_are_read_or_refused(name, tmp_path, names):
    _read_tree(name, tmp_path, names)


@pytest.mark.slow
@pytest.mark.parametrize("name", TREES)
@_settings(500)
@given(names=st.lists(NAMES, min_size=1, max_size=4))
def test_any_names_are_read_or_refused_many(name, tmp_path, names):
    _read_tree(name, tmp_path, names)
