"""RegDB: 412 people, each in ten visible and ten thermal images of a pair of cameras.

The dataset comes with ten folds, each of 206 people who train and 206 who test. Published figures are means over the
folds: `config.fold` chooses one, and `eval.py --table regdb --runs` averages their runs.

Protocol `all_images`: every visible image is looked for among all thermal images, and every thermal one among all
visible images. Nothing is hidden. Ranks count images.
"""

import os
import re
from pathlib import Path

from rgbir_jax.datasets.both_directions import both_directions, read_lists
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import IR, RGB, Records, existing, subfolder
from rgbir_jax.datasets.search import Search, nothing_hidden
from rgbir_jax.lookup import choose

TITLE = "RegDB"
PROTOCOLS = ("all_images",)
FOLDS = tuple(range(1, 11))
SETTINGS = {"visible_to_thermal": "visible to thermal", "thermal_to_visible": "thermal to visible"}
MODALITY = {"visible": RGB, "thermal": IR}  # by the word in the index files' names
PATHS = {
    RGB: re.compile(r"Visible/(?P<person_id>\d+)/[^/]+"),
    IR: re.compile(r"Thermal/(?P<person_id>\d+)/[^/]+"),
}


def read(root: str | os.PathLike, fold: int = 1) -> Records:
    """Reads the images that a fold lists: `idx/{train,test}_{visible,thermal}_{1..10}.txt`, of lines "path label".

    An image's folder gives its identity (`Visible/7/male_front_v_00012_7.bmp`): the labels in the lists start from 0
    for those who train and again for those who test. Camera 1 is the visible one, camera 2 the thermal one.

    Args:
        root: the dataset's folder.
        fold: 1 to 10.

    Raises:
        UserError: for another fold, a missing folder or list, a line of another form, an image that is not there, or a
            person in both splits.
    """
    choose(fold, FOLDS, "config.fold")
    root = existing(root, "regdb")
    for folder in ("Visible", "Thermal", "idx"):
        subfolder(root, folder, TITLE)
    lists = [
        (f"idx/{split}_{word}_{fold}.txt", split, modality)
        for split in ("train", "test")
        for word, modality in MODALITY.items()
    ]
    return read_lists(root, TITLE, lists, PATHS, "Visible/7/male_front_v_00012_7.bmp")


def searches(records: Records, protocol: str, galleries: Path) -> list[Search]:
    """Makes the searches in both directions.

    Args:
        records: the test images.
        protocol: "all_images", the only one.
        galleries: unused: nothing is drawn.
    """
    del protocol, galleries
    return both_directions(records, SETTINGS, lambda rows: (rows,), nothing_hidden, "image")


REGDB = Dataset(
    name="regdb",
    title=TITLE,
    description="Visible-thermal person re-identification: 412 people, one visible and one thermal camera, ten folds.",
    read=read,
    splits={"train": ("train",), "trainval": ("train",), "val": (), "test": ("test",)},
    protocols=PROTOCOLS,
    searches=searches,
    homepage="http://dm.dongguk.edu/link.html",
    citation="""@article{nguyen2017person,
  title = {Person Recognition System Based on a Combination of Body Images from Visible Light and Thermal Cameras},
  author = {Nguyen, Dat Tien and Hong, Hyung Gil and Kim, Ki Wan and Park, Kang Ryoung},
  journal = {Sensors},
  volume = {17},
  number = {3},
  year = {2017}
}""",
    instructions=(
        "manual_dir is the dataset's own tree: Visible, Thermal and idx. "
        "To draw one: python -m rgbir_jax.synthetic --layout regdb --out DIR"
    ),
    identities={"trainval": 206, "train": 206},
    published={"identities": 412, "cameras": 2, "images": 8_240, "training images": 4_120},
    marks=("Visible", "Thermal", "idx"),
    options=("fold",),
    folds=FOLDS,
)
