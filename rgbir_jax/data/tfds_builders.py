"""TFDS builders, made from the datasets' values; importing this module registers them.

    import tensorflow_datasets as tfds
    import rgbir_jax.data.tfds_builders

    tree = tfds.download.DownloadConfig(manual_dir="data/SYSU-MM01")  # the dataset's own
    tfds.load("sysu_mm01/256x128", download_and_prepare_kwargs={"download_config": tree})

The config's name is the size of the images, HEIGHTxWIDTH; any size can be named. An example has `image` (uint8
[height, width, 3], RGB), `person_id`, `camera`, `index` and `path` as in `datasets.records.Records`, and `modality`
("rgb" or "ir").
RegDB has the splits of its first fold, one's own folders those of the default options.
`as_supervised=True` gives (image, person_id).
"""

import dataclasses
import functools
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import tensorflow_datasets as tfds

from rgbir_jax.data.decoding import decode, in_threads
from rgbir_jax.datasets import DATASETS
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import MODALITIES, Records


@dataclasses.dataclass(eq=False)
class Resized(tfds.core.BuilderConfig):
    """A dataset at one size of its images, (height, width) in pixels."""

    image_size: tuple[int, int] = (256, 128)


@functools.cache
def resized(image_size: tuple[int, int]) -> Resized:
    """Returns the config of a size, named like "256x128"; TFDS wants one object per size."""
    height, width = image_size
    return Resized(
        name=f"{height}x{width}",
        description=f"Images of {height}x{width} pixels (bicubic).",
        image_size=image_size,
    )


class TreeBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A dataset that is read from a tree that the user has."""

    VERSION = tfds.core.Version("3.0.0")
    RELEASE_NOTES: ClassVar = {
        "3.0.0": "An image is stored as its pixels. It was a BMP file.",
        "2.0.0": "Training reads ArrayRecord files, with the images in the order of the table.",
        "1.1.0": "modality is a ClassLabel.",
    }
    BUILDER_CONFIGS = [resized((256, 128))]  # noqa: RUF012 (as TFDS declares it)
    dataset: ClassVar[Dataset]

    @classmethod
    def get_builder_config(cls, name: str, version=None) -> Resized | None:
        """Makes the config of any size; None for a name that is no size."""
        del version
        size = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", name)
        return resized((int(size[1]), int(size[2]))) if size else None

    @property
    def _image_size(self) -> tuple[int, int]:
        return cast(Resized, self.builder_config).image_size

    def _info(self) -> tfds.core.DatasetInfo:
        """Describes an example: a row of the records and its image."""
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.dataset.description,
            features=tfds.features.FeaturesDict(
                {
                    # The pixels as they are: a batch of them is decoded faster than a batch of image files.
                    "image": tfds.features.Tensor(
                        shape=(*self._image_size, 3), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
                    ),
                    "person_id": np.int32,
                    "camera": np.int32,
                    "index": np.int32,
                    "modality": tfds.features.ClassLabel(names=MODALITIES),
                    "path": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "person_id"),
            homepage=self.dataset.homepage,
            citation=self.dataset.citation,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        root = Path(dl_manager.manual_dir)
        records = self.dataset.read(root)
        self.info.as_proto.description = f"{self.dataset.description} {_counts(records)}"
        return {
            str(split): self._generate_examples(root, records.select(records.split == split))
            for split in np.unique(records.split)
        }

    def _generate_examples(self, root: Path, records: Records) -> Iterator[tuple[str, dict]]:
        for example in in_threads(functools.partial(self._example, root, records), range(len(records))):
            yield example["path"], example

    def serialised(self, root: Path, records: Records, row: int) -> bytes:
        """Decodes an image and returns it with its row of the records, as `tf.train.Example`."""
        features = cast(tfds.features.FeaturesDict, self.info.features)
        return features.serialize_example(self._example(root, records, row))

    def _example(self, root: Path, records: Records, row: int) -> dict:
        path = str(records.path[row])
        return {
            "image": decode(root / path, self._image_size),
            "person_id": records.person_id[row],
            "camera": records.camera[row],
            "index": records.index[row],
            "modality": int(records.modality[row]),
            "path": path,
        }


@functools.cache
def builder_class(dataset: Dataset, register: bool = False) -> type[TreeBuilder]:
    """Makes the builder of a dataset.

    Args:
        dataset: the dataset.
        register: whether `tfds.load` finds it by its name.
    """
    name = "".join(word.capitalize() for word in dataset.name.split("_"))  # TFDS names a dataset after its class
    attributes = {
        "__doc__": dataset.description,
        "__module__": __name__,
        "name": dataset.name,
        "dataset": dataset,
        "MANUAL_DOWNLOAD_INSTRUCTIONS": dataset.instructions or f"manual_dir is the tree of {dataset.title}.",
    }
    return types.new_class(
        name, (TreeBuilder,), {"skip_registration": not register}, lambda body: body.update(attributes)
    )


def _counts(records: Records) -> str:
    counts = [f"{np.sum(records.split == split):,} {split}" for split in np.unique(records.split)]
    return (
        f"This tree has {len(records):,} images of {len(np.unique(records.person_id)):,} people: {', '.join(counts)}."
    )


REGISTERED = {name: builder_class(dataset, register=True) for name, dataset in DATASETS.items()}
