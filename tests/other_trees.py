"""People drawn in Market-1501's tree, copied into the trees of DukeMTMC-reID and MSMT17."""

import re
import shutil
from collections import defaultdict
from pathlib import Path

from rgbir_jax import synthetic

DISTRACTOR = "0000"


def write_duke(root: Path, train: int, test: int) -> Path:
    """Writes the tree of DukeMTMC-reID without distractors."""
    for folder, person, camera, frame, image in _drawn(root, train, test):
        copy = root / folder / f"{person}_c{camera}_f{frame:07d}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, copy)
    return root


def write_msmt17(root: Path, train: int, test: int) -> Path:
    """Writes the tree of MSMT17, whose lists number those who train and those who test from 0. Without distractors."""
    lists = defaultdict(list)
    places = {"train": {}, "test": {}}
    for number, (folder, person, camera, _, image) in enumerate(_drawn(root, train, test)):
        part = "train" if folder == "bounding_box_train" else "test"
        place = places[part].setdefault(person, len(places[part]))
        path = f"{place:04d}/{place:04d}_{number:03d}_{camera:02d}_0303morning_{number:04d}_0.jpg"
        (root / part / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, root / part / path)
        split = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}[folder]
        lists[split].append(f"{path} {place}\n")
    lists["val"] = [lists["train"].pop()]
    for split, lines in lists.items():
        (root / f"list_{split}.txt").write_text("".join(lines))
    return root


def _drawn(root: Path, train: int, test: int) -> list[tuple[str, str, int, int, Path]]:
    """Draws a tree of Market-1501 beside `root`. Returns (folder, person, camera, frame, image) of everybody known."""
    market = root.with_name(f"{root.name}_market")
    synthetic.write(synthetic.market_plan(train, test, 2, 0), market, seed=0, size=(64, 32), arguments={}, workers=1)
    images = []
    for image in sorted(market.glob("*/*.jpg")):
        match = re.fullmatch(r"(\d{4})_c(\d)s1_(\d{6})_\d\d", image.stem)
        if match and match[1] != DISTRACTOR:
            images.append((image.parent.name, match[1], int(match[2]), int(match[3]), image))
    return images
