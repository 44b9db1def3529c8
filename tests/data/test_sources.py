import os
import sys
import threading
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from rgbir_jax import synthetic
from rgbir_jax.data.decoding import decode, in_threads
from rgbir_jax.data.sampling import IdentitySampler
from rgbir_jax.data.source import batch_spec, batches
from rgbir_jax.data.sources import open_source, prepared_folder
from rgbir_jax.datasets.sysu_mm01 import read
from rgbir_jax.errors import UserError
from rgbir_jax.files import LOCK, locked
from tests.conftest import write_image
from tests.disks import file_size, read_only

SIZE = (24, 12)
SPEC = ConfigDict({"batch": {"identities": 4, "shots": 2}, "modalities": (0, 1), "image_size": SIZE})


def make_config(root, prepared, **changes) -> ConfigDict:
    values = {
        "dataset": "sysu_mm01",
        "data_dir": str(root),
        "prepared_dir": str(prepared),
        "image_size": SIZE,
    }
    return ConfigDict(values | {"source": "memory"} | changes)


def make_sampler(source, **changes) -> IdentitySampler:
    rows = np.flatnonzero(source.records.split == "train")
    return IdentitySampler(source.records, rows, **({"identities": 4, "shots": 2} | changes))


@pytest.fixture(scope="module", params=["memory", "tf_data"])
def source(request, sysu_root, tmp_path_factory):
    return open_source(make_config(sysu_root, tmp_path_factory.mktemp("prepared"), source=request.param))


def by_hand(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB").resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC))


def test_images_are_the_files_resized(source, sysu_root):
    rows = np.array([7, 0, 150, 7])
    images = source.read(rows)
    assert images.dtype == np.uint8
    for row, image in zip(rows, images, strict=True):
        np.testing.assert_array_equal(image, by_hand(sysu_root / source.records.path[row]))


def test_infrared_images_have_three_equal_channels(source):
    images = source.read(np.flatnonzero(source.records.modality == 1))
    assert (images == images[..., :1]).all()


def test_batches_have_the_rows_of_the_sampler(source, sysu_root):
    sampler = make_sampler(source)
    for step, batch in zip(range(3, 9), batches(source, sampler, start=3), strict=False):
        rows = sampler(step)
        assert batch["image"].shape == (4, 2, 2, *SIZE, 3)
        assert batch["image"].dtype == np.uint8
        assert (batch["label"].dtype, batch["camera"].dtype) == (np.int32, np.int32)
        assert {name: (array.shape, array.dtype) for name, array in batch.items()} == batch_spec(SPEC)
        for place in np.ndindex(rows.shape):
            path = sysu_root / source.records.path[rows[place]]
            np.testing.assert_array_equal(batch["image"][place], by_hand(path))
            assert batch["camera"][place] == int(path.parts[-3][3:])
            people = sorted([3, 1, 2, 5, 8, 13])
            assert people[batch["label"][place[0]]] == int(path.parts[-2])


def test_processes_fetch_their_share_of_the_same_batch(source):
    whole = next(batches(source, make_sampler(source), 5))
    samplers = [make_sampler(source, process_index=index, process_count=2) for index in range(2)]
    shares = [next(batches(source, sampler, 5)) for sampler in samplers]
    for name, value in whole.items():
        np.testing.assert_array_equal(np.concatenate([share[name] for share in shares]), value)
    with pytest.raises(ValueError, match="4 identities cannot be divided among 3 processes"):
        make_sampler(source, process_index=0, process_count=3)


def test_both_sources_are_equal_bit_for_bit(sysu_root, tmp_path):
    memory, tfds = (open_source(make_config(sysu_root, tmp_path, source=name)) for name in ("memory", "tf_data"))
    everything = np.arange(len(memory.records))
    np.testing.assert_array_equal(memory.read(everything), tfds.read(everything))
    sampler = make_sampler(memory)
    for one, other in islice(zip(batches(memory, sampler), batches(tfds, sampler), strict=False), 10):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_market_trains_on_one_modality(market_root, tmp_path):
    first = []
    for name in ("memory", "tf_data"):
        source = open_source(make_config(market_root, tmp_path, dataset="market1501", source=name))
        sampler = make_sampler(source, identities=2, modalities=(0,))
        first.append(next(batches(source, sampler)))
        assert first[-1]["image"].shape == (2, 1, 2, *SIZE, 3)
    np.testing.assert_array_equal(first[0]["image"], first[1]["image"])


def test_the_prepared_set_is_reused_and_made_again_if_the_tree_changes(make_sysu, tmp_path):
    root = make_sysu(train=[1])
    config = make_config(root, "")
    before = open_source(config)
    [path] = (tmp_path / "sysu.prepared").glob("*/24x12.npy")
    mtime = path.stat().st_mtime_ns
    open_source(config)
    assert path.stat().st_mtime_ns == mtime

    image = root / "cam1/0001/0001.jpg"
    Image.new("RGB", (30, 50), "red").save(image)
    os.utime(image, ns=(mtime, mtime))
    after = open_source(config)
    assert not np.array_equal(after.read(np.array([0])), before.read(np.array([0])))
    np.testing.assert_array_equal(after.read(np.array([0]))[0], by_hand(image))


@pytest.mark.parametrize("name", ["memory", "tf_data"])
def test_one_decoded_copy_serves_every_fold(name, tmp_path):
    root = tmp_path / "regdb"
    synthetic.write(synthetic.regdb_plan(3, 2, 2, 0), root, seed=0, size=(32, 16), arguments={}, workers=1)
    config = make_config(root, tmp_path / "prepared", dataset="regdb", source=name)
    first = open_source(config)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "prepared").rglob("*") if path.is_file()}
    config.fold = 2
    second = open_source(config)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "prepared").rglob("*") if path.is_file()} == kept
    assert not np.array_equal(first.records.split, second.records.split)
    everything = np.arange(len(first.records))
    images = second.read(everything)
    np.testing.assert_array_equal(images, first.read(everything))
    np.testing.assert_array_equal(images[3], by_hand(root / second.records.path[3]))
    config.fold = 11
    with pytest.raises(UserError, match=r"config.fold 11 is unknown"):
        open_source(config)


@pytest.mark.parametrize("name", ["memory", "tf_data"])
def test_own_folders_with_names_of_any_alphabet(name, tmp_path):
    for seed, person in enumerate(("Zoë", "王", "anna b")):
        for kind in ("rgb", "ir"):
            write_image(tmp_path / "own" / kind / person / "é 1.PNG", 2 * seed + (kind == "ir"))
    source = open_source(make_config(tmp_path / "own", tmp_path / "prepared", dataset="folders", source=name))
    for row, image in enumerate(source.read(np.arange(6))):
        np.testing.assert_array_equal(image, by_hand(tmp_path / "own" / source.records.path[row]))


@pytest.mark.parametrize("name", ["memory", "tf_data"])
def test_a_truncated_image_is_named_and_nothing_is_kept(name, make_sysu, tmp_path):
    root = make_sysu(train=[1, 2])
    image = root / "cam3/0002/0001.jpg"
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])
    config = make_config(root, tmp_path / "prepared", source=name)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"cam3/0002/0001.jpg cannot be decoded.*whole copy of the image"):
            open_source(config)
    assert not [
        path for path in (tmp_path / "prepared").rglob("*") if path.suffix == ".npy" or "unfinished" in path.name
    ]
    assert not list((tmp_path / "prepared").rglob("*tfrecord*"))

    image.write_bytes(content)
    np.testing.assert_array_equal(
        open_source(config).read(np.array([8]))[0], by_hand(root / open_source(config).records.path[8])
    )


@pytest.mark.parametrize("name", ["memory", "tf_data"])
def test_two_preparations_do_not_write_at_once(name, make_sysu, tmp_path):
    config = make_config(make_sysu(train=[1, 2]), tmp_path / "prepared", source=name)
    folder = prepared_folder(config.prepared_dir, Path(config.data_dir), read(Path(config.data_dir)))
    opened = []
    second = threading.Thread(target=lambda: opened.append(open_source(config)))
    with locked(folder, "prepared", wait=False):
        second.start()
        second.join(1)
        assert second.is_alive()
        assert [path.name for path in folder.iterdir()] == [LOCK]
    second.join(60)
    assert opened[0].read(np.array([0])).shape == (1, *SIZE, 3)
    with locked(folder, "prepared", wait=False):
        open_source(config)  # what is prepared needs no lock
    with read_only(tmp_path):
        open_source(config)


@pytest.mark.parametrize("name", ["memory", "tf_data"])
def test_a_full_disk_is_named_and_nothing_is_kept(name, make_sysu, tmp_path):
    config = make_config(make_sysu(train=[1, 2]), tmp_path / "prepared", source=name)
    with (
        file_size(5000),
        pytest.raises(UserError, match=r"prepared/.* cannot be written \(.*File too large.*prepared_dir"),
    ):
        open_source(config)
    assert not [path for path in (tmp_path / "prepared").rglob("*") if path.suffix == ".npy" or "unfin" in path.name]
    assert open_source(config).read(np.array([0])).shape == (1, *SIZE, 3)


@pytest.mark.parametrize("name", ["memory", "tf_data"])
def test_images_for_which_there_is_no_room_are_not_decoded(name, make_sysu, tmp_path, monkeypatch):
    config = make_config(make_sysu(train=[1, 2]), tmp_path / "prepared", source=name)
    images = len(read(config.data_dir))
    needed = images * SIZE[0] * SIZE[1] * 3
    room = needed - 1
    monkeypatch.setattr("rgbir_jax.data.preparing.shutil.disk_usage", lambda path: SimpleNamespace(free=room))
    with monkeypatch.context() as context:
        context.setattr(f"rgbir_jax.data.{'memory' if name == 'memory' else 'tfds_prepared'}.in_threads", None)
        sentence = rf"\({images} images of 24x12 need 0.0 GB, and 0.0 GB are free\); make room"
        with pytest.raises(UserError, match=sentence):
            open_source(config)
    assert not [path for path in (tmp_path / "prepared").rglob("*") if path.suffix == ".npy" or "unfin" in path.name]
    room = needed
    assert open_source(config).read(np.array([0])).shape == (1, *SIZE, 3)


def test_wrong_values_are_named(sysu_root, tmp_path):
    for changes, message in (
        ({"dataset": "cifar10"}, r'config.dataset "cifar10" is unknown; choose "sysu_mm01", .* or "duke"'),
        ({"source": "disk"}, r'config.source \(eval.py: --source\) "disk" is unknown; choose "tf_data" or "memory"'),
        ({"image_size": (256,)}, r"config.image_size \(256,\) is not \(height, width\)"),
    ):
        with pytest.raises(ValueError, match=message):
            open_source(make_config(sysu_root, tmp_path, **changes))
    with pytest.raises(UserError, match="absent does not exist"):
        open_source(make_config(tmp_path / "absent", tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written.*--config.prepared_dir .eval.py: --prepared_dir"):
        open_source(make_config(sysu_root, tmp_path / "file"))


def test_without_tensorflow_the_alternatives_are_named(sysu_root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.delitem(sys.modules, "rgbir_jax.data.tf_data", raising=False)
    with pytest.raises(UserError, match=r"pip install 'rgbir-jax\[data\]'.*=memory \(eval.py: --source=memory\)"):
        open_source(make_config(sysu_root, tmp_path, source="tf_data"))


def test_in_threads_keeps_order_and_passes_errors_on():
    assert list(in_threads(lambda x: x * x, range(100))) == [x * x for x in range(100)]
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda x: 1 // (50 - x), range(100)))


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(ValueError, match=r"a.jpg cannot be decoded"):
        decode(tmp_path / "a.jpg", SIZE)
