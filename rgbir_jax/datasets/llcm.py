"""LLCM: 1,064 people seen by nine cameras in low light, in visible light and in near infrared.

Protocol `seeded`: images of one modality are looked for among those of the other, in both directions and in ten trials.
A gallery has one image of each person in each camera. Python's `random` draws it, seeded with the trial's number from
0, person by person and camera by camera: `choice` among the sorted files, as the code that was published with the
dataset does. A probe does not see its own person in its own camera. Ranks count persons.
"""

import os
import random
import re
from pathlib import Path

import numpy as np
from jaxtyping import Int

from rgbir_jax.datasets.both_directions import both_directions, read_lists
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import IR, RGB, Records, existing, rows_by_person_and_camera, subfolder
from rgbir_jax.datasets.search import Search, same_person_and_camera

TITLE = "LLCM"
PROTOCOLS = ("seeded",)
TRIALS = 10
SETTINGS = {"visible_to_infrared": "visible to infrared", "infrared_to_visible": "infrared to visible"}
LISTS = [
    (f"idx/{split}_{word}.txt", split, modality)
    for split in ("train", "test")
    for word, modality in (("vis", RGB), ("nir", IR))
]
PATH = re.compile(r".*/(?P<person_id>\d+)/[^/]*_c(?P<camera>\d+)_[^/]*")


def read(root: str | os.PathLike) -> Records:
    """Reads the images that `idx/{train,test}_{vis,nir}.txt` list, of lines "path label".

    An image's folder gives its identity and its name the camera (`nir/0351/0351_c06_s200656_f4830_nir.jpg`). A camera
    has one number in both modalities.

    Raises:
        UserError: for a missing list, a line of another form, an image that is not there, or a person in both splits.
    """
    root = existing(root, "llcm")
    subfolder(root, "idx", TITLE)
    return read_lists(root, TITLE, LISTS, dict.fromkeys((RGB, IR), PATH), "nir/0351/0351_c06_s200656_f4830_nir.jpg")


def searches(records: Records, protocol: str, galleries: Path) -> list[Search]:
    """Draws the galleries of both directions.

    Args:
        records: the test images.
        protocol: "seeded", the only one.
        galleries: unused: no file draws them.
    """
    del protocol, galleries

    def drawn(rows: Int[np.ndarray, "n"]) -> tuple[Int[np.ndarray, "_"], ...]:
        of_camera = rows_by_person_and_camera(records.select(rows)).values()
        return tuple(
            rows[np.array([generator.choice(images.tolist()) for images in of_camera], np.int64)]
            for generator in map(random.Random, range(TRIALS))
        )

    return both_directions(records, SETTINGS, drawn, same_person_and_camera, "identity")


LLCM = Dataset(
    name="llcm",
    title=TITLE,
    description="Visible-infrared person re-identification in low light: 1,064 people, nine cameras.",
    read=read,
    splits={"train": ("train",), "trainval": ("train",), "val": (), "test": ("test",)},
    protocols=PROTOCOLS,
    searches=searches,
    homepage="https://github.com/ZYK100/LLCM",
    citation="""@inproceedings{zhang2023diverse,
  title = {Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for Visible-Infrared Person
    Re-identification},
  author = {Zhang, Yukang and Wang, Hanzi},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2023}
}""",
    instructions=(
        "manual_dir is the dataset's own tree: vis, nir and idx; its authors send it on request. "
        "To draw one: python -m rgbir_jax.synthetic --layout llcm --out DIR"
    ),
    identities={"trainval": 713, "train": 713},
    published={"identities": 1_064, "cameras": 9, "images": 46_767, "training images": 30_921},
    marks=("vis", "nir", "idx"),
)
