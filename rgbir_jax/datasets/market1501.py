"""Market-1501: 1,501 people seen by six RGB cameras. `single_query.py` has its protocol."""

import os
import re

from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.datasets.single_query import FOLDERS, PROTOCOLS, read_folders, searches

TITLE = "Market-1501"
FILE_NAME = re.compile(r"(?P<person_id>-1|\d{4})_c(?P<camera>\d)s\d_\d+_\d+")


def read(root: str | os.PathLike) -> Records:
    """Reads the tree: `bounding_box_train`, `query`, `bounding_box_test`; every image is RGB.

    A file's name gives its identity and camera (`0002_c1s1_000451_03.jpg`). Distractors (`0000`) stay in the gallery
    with person_id 0 and match nobody. Junk (`-1`) is left out.

    Raises:
        UserError: for a missing or empty folder, or a name that does not follow the pattern.
    """
    return read_folders(root, TITLE, FILE_NAME, "0002_c1s1_000451_03.jpg", "market1501")


MARKET1501 = Dataset(
    name="market1501",
    title=TITLE,
    description="Person re-identification: 1,501 people, six RGB cameras, with distractors in the gallery.",
    read=read,
    splits={"train": ("train",), "trainval": ("train",), "val": (), "test": ("query", "gallery")},
    protocols=PROTOCOLS,
    searches=searches,
    homepage="https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html",
    citation="""@inproceedings{zheng2015scalable,
  title = {Scalable Person Re-Identification: A Benchmark},
  author = {Zheng, Liang and Shen, Liyue and Tian, Lu and Wang, Shengjin and Wang, Jingdong and Tian, Qi},
  booktitle = {International Conference on Computer Vision},
  year = {2015}
}""",
    instructions="manual_dir is the dataset's own tree: bounding_box_train, query and bounding_box_test.",
    identities={"trainval": 751, "train": 751},
    published={"identities": 1_501, "cameras": 6, "images": 32_217, "training images": 12_936},
    marks=(*FOLDERS, "query/*_c?s?_*"),
)
