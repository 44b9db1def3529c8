import numpy as np
import pytest

from rgbir_jax.data.decoding import decode
from rgbir_jax.datasets import DATASETS

tfds = pytest.importorskip("tensorflow_datasets")

from rgbir_jax.data import tfds_builders  # noqa: E402


@pytest.mark.parametrize("name", ["sysu_mm01", "market1501"])
def test_tfds_loads_it_by_name(name, sysu_root, market_root, tmp_path):
    root = {"sysu_mm01": sysu_root, "market1501": market_root}[name]
    records = DATASETS[name].read(root)
    splits, info = tfds.load(
        f"{name}/256x128",
        data_dir=tmp_path,
        with_info=True,
        download_and_prepare_kwargs={"download_config": tfds.download.DownloadConfig(manual_dir=root)},
    )
    assert info.features["image"].shape == (256, 128, 3)
    assert set(splits) == set(records.split)
    count = 0
    for split, examples in splits.items():
        for example in examples.as_numpy_iterator():
            [row] = np.flatnonzero(records.path == example["path"].decode())
            count += 1
            assert records.split[row] == split
            for field in ("person_id", "camera", "index", "modality"):
                assert example[field] == getattr(records, field)[row]
            np.testing.assert_array_equal(example["image"], decode(root / records.path[row], (256, 128)))
    assert count == len(records)


def test_other_sizes_are_separate_configs(market_root, tmp_path):
    builder = tfds.builder("market1501/16x8", data_dir=tmp_path)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=market_root))
    assert builder.info.config_name == "16x8"
    assert next(iter(tfds.as_numpy(builder.as_dataset(split="query"))))["image"].shape == (16, 8, 3)


def test_what_tfds_users_expect(sysu_root, tmp_path):
    """Supervised pairs, names of the modalities, a homepage, a citation, and the numbers of images in this tree."""
    tree = tfds.download.DownloadConfig(manual_dir=sysu_root)
    builder = tfds.builder("sysu_mm01/12x6", data_dir=tmp_path)
    assert "This tree" not in builder.info.description
    builder.download_and_prepare(download_config=tree)
    for info in (builder.info, tfds.builder("sysu_mm01/12x6", data_dir=tmp_path).info):  # also after it is opened again
        assert "This tree has 180 images of 10 people: 36 test, 108 train, 36 val." in info.description
    assert builder.info.homepage == "https://github.com/wuancong/SYSU-MM01"
    assert builder.info.citation.startswith("@inproceedings{wu2017rgb")
    assert builder.info.features["modality"].names == ["rgb", "ir"]
    image, person = next(iter(tfds.as_numpy(builder.as_dataset(split="test", as_supervised=True))))
    assert image.shape == (12, 6, 3)
    assert person in (4, 6)


def test_a_name_that_is_no_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="BuilderConfig large not found"):
        tfds.builder("sysu_mm01/large", data_dir=tmp_path)


@pytest.fixture(scope="class")
def sysu_as_example(request, sysu_root):
    request.cls.EXAMPLE_DIR = str(sysu_root)


@pytest.fixture(scope="class")
def market_as_example(request, market_root):
    request.cls.EXAMPLE_DIR = str(market_root)


@pytest.mark.usefixtures("sysu_as_example")
class Sysu(tfds.testing.DatasetBuilderTestCase):
    """The tests that TFDS provides for a builder."""

    DATASET_CLASS = tfds_builders.REGISTERED["sysu_mm01"]
    SPLITS = {"train": 108, "val": 36, "test": 36}  # noqa: RUF012


@pytest.mark.usefixtures("market_as_example")
class Market(tfds.testing.DatasetBuilderTestCase):
    """The tests that TFDS provides for a builder."""

    DATASET_CLASS = tfds_builders.REGISTERED["market1501"]
    SPLITS = {"train": 5, "query": 2, "gallery": 3}  # noqa: RUF012
