"""A custom dataset: a folder per kind of camera, and in it a folder per person.

    python train.py --config examples/own_dataset.py --workdir runs/own --config.data_dir DIR
    python eval.py --workdir runs/own

DIR has rgb/0001/anything.jpg and ir/0001/anything.jpg. Every fourth person is tested on; the others train.
"""

from pathlib import Path

import numpy as np

from configs import quickstart
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.files import images_in
from rgbir_jax.datasets.records import IR, MODALITIES, RGB, existing, subfolder, tabulate
from rgbir_jax.datasets.search import Search


def read(root):
    """The table of a tree: one row (path, person_id, camera, modality, split) per image."""
    images = []
    for modality, folder in enumerate(MODALITIES):
        people = subfolder(existing(root), folder, "Photos").iterdir()
        for person in sorted(path for path in people if path.is_dir()):
            split = "test" if int(person.name) % 4 == 0 else "train"
            images += [
                (f"{folder}/{person.name}/{name}", int(person.name), modality + 1, modality, split)
                for name in images_in(person)[0]
            ]
    return tabulate(images)


def searches(records, protocol, root: Path):
    """Every IR image is looked for among all RGB images; all of them can be seen."""
    probes, gallery = (np.flatnonzero(records.modality == modality) for modality in (IR, RGB))

    def hidden(probe, gallery):
        return np.zeros((len(probe.camera), len(gallery.camera)), bool)

    return [Search("ir_to_rgb", "IR to RGB, all images", probes, (gallery,), hidden, "identity")]


PHOTOS = Dataset(
    name="photos",
    title="Photos",
    description="People photographed by day and in infrared.",
    read=read,
    splits={"train": ("train",), "trainval": ("train",), "val": (), "test": ("test",)},
    protocols=("all_images",),
    searches=searches,
)


def get_config():
    """The quickstart on this dataset."""
    config = quickstart.get_config()
    config.dataset = "own_dataset:PHOTOS"
    config.protocol = "all_images"
    return config
