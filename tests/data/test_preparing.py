"""Prepared images on disk: a preparation that is killed is resumed, and a damaged file is named."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rgbir_jax.data import decoding, memory, tfds_builders, tfds_prepared
from rgbir_jax.data.source import batches
from rgbir_jax.data.sources import open_source
from rgbir_jax.errors import UserError
from tests.data.test_sources import SIZE, make_config, make_sampler

SOURCES = {"memory": memory, "tf_data": tfds_prepared}
BLOCK = 8
KILLED = """
import sys, time
from rgbir_jax.data import decoding, memory, tfds_builders, tfds_prepared
from tests.data.test_preparing import BLOCK, SOURCES
from tests.data.test_sources import make_config
from rgbir_jax.data.sources import open_source

name, root, prepared = sys.argv[1:]
module = SOURCES[name]
module.BLOCK = BLOCK
whole = decoding.in_threads

def slow(function, items):
    for number, item in enumerate(whole(function, items)):
        if number == 21:
            print("21 images", flush=True)
            time.sleep(600)
        yield item

module.in_threads = slow
open_source(make_config(root, prepared, source=name))
"""


@pytest.fixture(params=["memory", "tf_data"])
def name(request, monkeypatch) -> str:
    """Names a source, whose blocks are small."""
    monkeypatch.setattr(SOURCES[request.param], "BLOCK", BLOCK)
    return request.param


@pytest.fixture
def tree(make_sysu) -> Path:
    """Writes 36 images."""
    return make_sysu(train=[1, 2, 3])


def _decoded(monkeypatch) -> list[str]:
    """Returns the list to which the names of decoded files will be added."""
    names = []
    whole = decoding.decode

    def decode(path, image_size):
        names.append("/".join(Path(path).parts[-3:]))
        return whole(path, image_size)

    for module in (memory, tfds_builders):
        monkeypatch.setattr(module, "decode", decode)
    return names


def _files(prepared: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in prepared.rglob("*") if path.is_file()}


def test_a_killed_preparation_is_resumed(name, tree, tmp_path, monkeypatch, capsys):
    command = [sys.executable, "-c", KILLED, name, str(tree), str(tmp_path / "prepared")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "21 images\n" in process.stdout
        process.send_signal(signal.SIGKILL)
    names = _decoded(monkeypatch)
    source = open_source(make_config(tree, tmp_path / "prepared", source=name))
    assert "16 of 36 images of sysu_mm01 are prepared; the others follow." in capsys.readouterr().out
    assert sorted(names) == sorted(source.records.path[16:])
    assert not [path for path in _files(tmp_path / "prepared") if "unfinished" in str(path)]

    whole = open_source(make_config(tree, tmp_path / "whole", source=name))
    everything = np.arange(36)
    np.testing.assert_array_equal(source.read(everything), whole.read(everything))


@pytest.mark.parametrize("size", [0, 3, 60, 200, 128 + 8 * 864, 128 + 8 * 864 + 1, 128 + 16 * 864 + 5])
def test_what_a_killed_process_left_is_cut_after_its_last_whole_block(size, tree, tmp_path, monkeypatch):
    """A block counts if something follows it, because it has reached the disk then. 864 bytes are one image."""
    monkeypatch.setattr(memory, "BLOCK", BLOCK)
    config = make_config(tree, tmp_path / "prepared")
    whole = open_source(config)
    path = next((tmp_path / "prepared").rglob("24x12.npy"))
    content = path.read_bytes()
    assert len(content) == 128 + 36 * 864
    path.unlink()
    path.with_suffix(".unfinished").write_bytes(content[:size])
    names = _decoded(monkeypatch)
    np.testing.assert_array_equal(open_source(config).read(np.arange(36)), whole.read(np.arange(36)))
    assert path.read_bytes() == content
    assert len(names) == 36 - {128 + 8 * 864 + 1: 8, 128 + 16 * 864 + 5: 16}.get(size, 0)


def test_an_image_that_cannot_be_decoded_leaves_nothing_of_earlier_blocks(name, tree, tmp_path):
    (tree / "cam6/0003/0002.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"cam6/0003/0002.jpg cannot be decoded"):
        open_source(make_config(tree, tmp_path / "prepared", source=name))
    assert [path.name for path in _files(tmp_path / "prepared")] == [".lock"]


def _flip(content: bytes) -> bytes:
    """Changes a bit of the first image."""
    return content[:1500] + bytes([content[1500] ^ 4]) + content[1501:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_and_prepared_again_after_it_is_removed(name, damage, tree, tmp_path, capsys):
    config = make_config(tree, tmp_path / "prepared", source=name)
    images = open_source(config).read(np.arange(36))
    kinds = {"memory": ["*.npy"], "tf_data": ["*00001-of-00005", "dataset_info.json", "features.json"]}[name]
    for kind in kinds:
        [path] = (tmp_path / "prepared").rglob(kind)
        whole = path.read_bytes()
        path.write_bytes(DAMAGES[damage](whole))
        with pytest.raises(UserError, match=rf"^{path} is damaged \(.+\); remove it, and the next start prepares it"):
            open_source(config)
        others = {other: content for other, content in _files(tmp_path / "prepared").items() if "of-" in other.name}
        path.unlink()
        np.testing.assert_array_equal(open_source(config).read(np.arange(36)), images)
        if name == "tf_data":
            assert f"{path} is missing" in capsys.readouterr().out
            others.pop(path, None)  # no other file of images is written
            assert others.items() <= _files(tmp_path / "prepared").items()


def test_a_flipped_bit_is_found_when_its_image_is_read(tree, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tfds_prepared, "BLOCK", BLOCK)
    config = make_config(tree, tmp_path / "prepared", source="tf_data")
    open_source(config)
    [path] = (tmp_path / "prepared").rglob("*00002-of-00005")
    path.write_bytes(_flip(path.read_bytes()))
    message = rf"^{path} is damaged \(.*hash mismatch\); remove it, and the next start prepares it again\.$"
    source = open_source(config)
    assert source.read(np.arange(16)).shape == (16, *SIZE, 3)
    with pytest.raises(UserError, match=message):
        source.read(np.arange(36))
    with pytest.raises(UserError, match=message):
        for _ in zip(range(40), batches(source, make_sampler(source, identities=3)), strict=False):
            pass
    assert "Traceback" not in capfd.readouterr().err


def test_an_array_of_other_images_is_not_believed(tree, tmp_path):
    config = make_config(tree, tmp_path / "prepared")
    open_source(config)
    [path] = (tmp_path / "prepared").rglob("*.npy")
    for other in (np.zeros((35, *SIZE, 3), np.uint8), np.zeros((36, *SIZE, 3), np.int8)):
        np.save(path, other)
        with pytest.raises(UserError, match=rf"^{path} is damaged \(it does not have the images of "):
            open_source(config)


def test_numbers_of_images_that_differ_are_not_believed(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_prepared, "BLOCK", BLOCK)
    config = make_config(tree, tmp_path / "prepared", source="tf_data")
    open_source(config)
    [path] = (tmp_path / "prepared").rglob("dataset_info.json")
    content = path.read_text()
    path.write_text(content.replace('"8"', '"9"', 1).replace('"8"', '"7"', 1))
    assert path.read_text() != content
    with pytest.raises(UserError, match=rf"^{path} is damaged"):
        open_source(config)


@pytest.mark.parametrize("version", ["1.1.0", "2.0.0", "2.0.0.unfinished"])
def test_what_another_version_prepared_is_mentioned_and_left_alone(version, tree, tmp_path, capsys):
    config = make_config(tree, tmp_path / "prepared", source="tf_data")
    images = open_source(config).read(np.arange(36))
    [folder] = (tmp_path / "prepared").rglob("3.0.0")
    older = folder.rename(folder.with_name(version))
    [path] = older.glob("*.array_record-*")
    path.write_bytes(b"images in another format")
    for _ in range(2):
        np.testing.assert_array_equal(open_source(config).read(np.arange(36)), images)
    expected = f"{older} was prepared by another version of this program and is not used; you can remove it."
    assert capsys.readouterr().out.count(expected) == 1
    assert path.read_bytes() == b"images in another format"


def test_tfds_reads_what_was_prepared(tree, tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr(tfds_prepared, "BLOCK", BLOCK)
    source = open_source(make_config(tree, tmp_path / "prepared", source="tf_data"))
    [folder] = (tmp_path / "prepared").rglob("3.0.0")
    for builder in (
        tfds.builder_from_directory(folder),
        tfds.builder("sysu_mm01/24x12", data_dir=folder.parents[2]),
    ):
        examples = builder.as_data_source("images")
        assert len(examples) == 36
        for row in (0, 7, 8, 35):
            assert examples[row]["path"].decode() == source.records.path[row]
            assert examples[row]["person_id"] == source.records.person_id[row]
            np.testing.assert_array_equal(examples[row]["image"], source.read(np.array([row]))[0])


def test_one_image_is_read_without_the_others(tmp_path, make_sysu):
    """Twice a megabyte at the end of the file is its index and more."""
    root = make_sysu(train=range(1, 41))
    config = make_config(root, tmp_path / "prepared", source="tf_data", image_size=(96, 48))
    open_source(config)
    before = _bytes_read()
    source = open_source(config)
    source.read(np.array([5]))
    assert _bytes_read() - before < 480 * 96 * 48 * 3 / 2


def _bytes_read() -> int:
    """Returns the number of bytes that this process has asked the system for."""
    return int(Path("/proc/self/io").read_text().split()[1])
