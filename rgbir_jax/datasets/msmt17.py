"""MSMT17: 4,101 people seen by fifteen RGB cameras; `single_query.py` has its protocol."""

import os
import re

from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.index_files import badly_named, listed, say_unlisted
from rgbir_jax.datasets.records import RGB, Records, existing, has_only_tests, refuse_nested, tabulate
from rgbir_jax.datasets.single_query import PROTOCOLS, searches
from rgbir_jax.errors import UserError

TITLE = "MSMT17"
FOLDERS = (("train", "test"), ("mask_train_v2", "mask_test_v2"))  # of the two releases
LISTS = {"train": "list_train.txt", "val": "list_val.txt", "query": "list_query.txt", "gallery": "list_gallery.txt"}
TRAINING_LISTS = (LISTS["train"], LISTS["val"])
PATH = re.compile(r"[^/]+/(?P<person_id>\d+)/\d+_\d+_(?P<camera>\d+)_[^/]+")
TEST_OFFSET = 10_000  # added to the numbers of those who test


def read(root: str | os.PathLike) -> Records:
    """Reads the images that `list_{train,val,query,gallery}.txt` list, of lines "path label"; every image is RGB.

    The lists of those who train are relative to `train` or `mask_train_v2`, the others to `test` or `mask_test_v2`. A
    path gives the identity and the camera (`0000/0000_000_01_0303morning_0015_0.jpg`). Both those who train and those
    who test are numbered from 0 there; here the former are numbered from 1 and the latter from 10,001. The lists
    "train" and "val" show the same people.

    Raises:
        UserError: for a missing folder or list, a line of another form, or an image that is not there.
    """
    root = existing(root)
    only_tests = has_only_tests(root, TRAINING_LISTS, (LISTS["query"], LISTS["gallery"]))
    found = [folders for folders in FOLDERS if all((root / folder).is_dir() for folder in folders[only_tests:])]
    if not found:
        for folders in FOLDERS:
            refuse_nested(root, folders)
        names = " nor ".join(" and ".join(folders) for folders in FOLDERS)
        raise UserError(f"{root} has neither the folders {names}; it is not a whole copy of {TITLE}.")
    train, test = found[0]
    images = []
    for split, file in LISTS.items():
        trains = file in TRAINING_LISTS
        if trains and only_tests:
            continue
        for path in listed(root, file, TITLE, train if trains else test):
            match = PATH.fullmatch(path)
            if match is None:
                raise badly_named(root, file, path, TITLE, "0000/0000_000_01_0303morning_0015_0.jpg")
            person_id = int(match["person_id"]) + 1 + (0 if trains else TEST_OFFSET)
            images.append((path, person_id, int(match["camera"]), RGB, split))
    say_unlisted(root, {path.split("/")[0] for path, *_ in images}, [path for path, *_ in images])
    return tabulate(images)


MSMT17 = Dataset(
    name="msmt17",
    title=TITLE,
    description="Person re-identification: 4,101 people, fifteen RGB cameras.",
    read=read,
    # Nobody is left to validate on: the list "val" shows people who train.
    splits={"train": ("train",), "trainval": ("train", "val"), "val": (), "test": ("query", "gallery")},
    protocols=PROTOCOLS,
    searches=searches,
    homepage="https://www.pkuvmc.com/dataset.html",
    citation="""@inproceedings{wei2018person,
  title = {Person Transfer {GAN} to Bridge Domain Gap for Person Re-Identification},
  author = {Wei, Longhui and Zhang, Shiliang and Gao, Wen and Tian, Qi},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2018}
}""",
    instructions="manual_dir is the dataset's own tree: train, test and the four lists.",
    identities={"trainval": 1041, "train": 1041},
    published={"identities": 4_101, "cameras": 15, "images": 126_441, "training images": 32_621},
    marks=tuple(LISTS.values()),
)
