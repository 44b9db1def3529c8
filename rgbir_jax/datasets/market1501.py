"""Market-1501: 1,501 people seen by six RGB cameras.

Protocol `single_query`: every image of `query` is looked for in `bounding_box_test`. A query does not see its own
person in its own camera. Distractors (person 0) stay in the gallery. Ranks count images. Average precision is given in
both forms: by trapezoids, as the dataset's own program has it, and in the usual form.
"""

import os
import re
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import RGB, Records, existing, jpegs, subfolder, tabulate
from rgbir_jax.datasets.search import AP, Labelled, Search
from rgbir_jax.errors import UserError

TITLE = "Market-1501"
PROTOCOLS = ("single_query",)
SPLITS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
FILE_NAME = re.compile(r"(?P<person_id>-1|\d{4})_c(?P<camera>\d)s\d_\d+_\d+\.jpg")
JUNK = -1
FORMS: dict[str, tuple[AP, str]] = {
    "single_query_trapezoid": ("trapezoid", "single query, AP by trapezoids (Market-1501's own)"),
    "single_query_hits": ("hits", "single query, AP as mean precision at the hits (usual)"),
}


def read(root: str | os.PathLike) -> Records:
    """Reads the tree: `bounding_box_train`, `query`, `bounding_box_test`; every image is RGB.

    A file's name gives its identity and camera (`0002_c1s1_000451_03.jpg`). Distractors (`0000`) stay in the gallery
    with person_id 0 and match nobody. Junk (`-1`) is left out: the dataset's protocol counts it neither as right nor
    as wrong.

    Raises:
        UserError: for a missing or empty folder, or a name that does not follow the pattern.
    """
    root = existing(root, "market1501")
    images = []
    for folder_name, split in SPLITS.items():
        names = jpegs(subfolder(root, folder_name, TITLE))
        if not names:
            raise UserError(f"{root}/{folder_name} has no *.jpg; complete the copy of {TITLE}.")
        for name in names:
            match = FILE_NAME.fullmatch(name)
            if match is None:
                raise UserError(
                    f"{root}/{folder_name}/{name} is not named as {TITLE} names its images "
                    f"(0002_c1s1_000451_03.jpg); rename it or take it out."
                )
            person_id = int(match["person_id"])
            if person_id != JUNK:
                images.append((f"{folder_name}/{name}", person_id, int(match["camera"]), RGB, split))
    return tabulate(images)


def searches(records: Records, protocol: str, galleries: Path) -> list[Search]:
    """Makes the one search, with both forms of average precision.

    Args:
        records: the images of `query` and `bounding_box_test`.
        protocol: "single_query", the only one.
        galleries: unused: nothing is drawn.
    """
    del protocol, galleries
    probes = np.flatnonzero(records.split == "query")
    gallery = np.flatnonzero((records.split == "gallery") & (records.person_id != JUNK))
    return [
        Search(name, title, probes, (gallery,), same_person_and_camera, "image", ap)
        for name, (ap, title) in FORMS.items()
    ]


def same_person_and_camera(probe: Labelled, gallery: Labelled) -> Bool[np.ndarray, "p g"]:
    """Hides a probe's own person in its own camera."""
    return (probe.person_id[:, None] == gallery.person_id) & (probe.camera[:, None] == gallery.camera)


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
)
