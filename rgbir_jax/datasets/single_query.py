"""What Market-1501 and the datasets that follow it share: trees of RGB images, and the single-query protocol.

Protocol `single_query`: every query is looked for in the gallery. A query does not see its own person in its own
camera. Distractors stay in the gallery. Ranks count images. Average precision is given in both forms: by trapezoids, as
Market-1501's own program has it, and in the usual form.
"""

import os
import re
from pathlib import Path

import numpy as np

from rgbir_jax.datasets.files import images_in, say_left_out
from rgbir_jax.datasets.records import RGB, Records, existing, has_only_tests, subfolder, tabulate
from rgbir_jax.datasets.search import AP, Search, same_person_and_camera
from rgbir_jax.errors import UserError

PROTOCOLS = ("single_query",)
FOLDERS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}  # the split of each
JUNK = -1
FORMS: dict[str, tuple[AP, str]] = {
    "single_query_trapezoid": ("trapezoid", "single query, AP by trapezoids (Market-1501's own)"),
    "single_query_hits": ("hits", "single query, AP as mean precision at the hits (usual)"),
}


def read_folders(root: str | os.PathLike, title: str, name: re.Pattern, example: str, layout: str = "") -> Records:
    """Reads a tree of `bounding_box_train`, `query` and `bounding_box_test`; every image is RGB.

    Junk (person -1) is left out: the protocol counts it neither as right nor as wrong. Files that are no images are
    left out too, and counted on stderr.

    Args:
        root: the dataset's folder.
        title: the dataset's name in messages.
        name: what an image's name looks like without its ending, with the groups `person_id` and `camera`.
        example: a name that fits, for the message.
        layout: the name under which the drawing program draws such a tree; empty if it cannot.

    Raises:
        UserError: for a missing or empty folder, a name that does not fit, or a person who trains and is tested.
    """
    root = existing(root, layout)
    images, left_out = [], []
    train, *tests = FOLDERS
    for folder_name in tests if has_only_tests(root, (train,), tests) else FOLDERS:
        split = FOLDERS[folder_name]
        names, others = images_in(subfolder(root, folder_name, title))
        left_out += others
        if not names:
            raise UserError(f"{root}/{folder_name} has no *.jpg; complete the copy of {title}.")
        for file_name in names:
            match = name.fullmatch(Path(file_name).stem)
            if match is None:
                raise UserError(
                    f"{root}/{folder_name}/{file_name} is not named as {title} names its images ({example}); "
                    f"rename it or take it out."
                )
            person_id = int(match["person_id"])
            if person_id != JUNK:
                images.append((f"{folder_name}/{file_name}", person_id, int(match["camera"]), RGB, split))
    say_left_out(root, left_out, "files that are no images or in a subfolder")
    return tabulate(images)


def searches(records: Records, protocol: str, galleries: Path) -> list[Search]:
    """Makes the one search, with both forms of average precision.

    Args:
        records: the images of the splits "query" and "gallery".
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
