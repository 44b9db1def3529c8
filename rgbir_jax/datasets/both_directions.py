"""What RegDB and LLCM share: index files of each split and modality, and searches in both directions."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int

from rgbir_jax.datasets.index_files import badly_named, listed, say_unlisted
from rgbir_jax.datasets.records import IR, RGB, Records, has_only_tests, tabulate
from rgbir_jax.datasets.search import Hidden, Search
from rgbir_jax.errors import UserError


def read_lists(
    root: Path, title: str, lists: Sequence[tuple[str, str, int]], names: Mapping[int, re.Pattern], example: str
) -> Records:
    """Reads the images that index files list.

    Args:
        root: the dataset's folder.
        title: the dataset's name in messages.
        lists: (path of the index file, split, modality) of each.
        names: what an image's path looks like, by modality, with the group `person_id` and, unless the camera is the
            modality's number plus 1, the group `camera`.
        example: a path that fits, for the message.

    Raises:
        UserError: for what `listed` refuses, a path that does not fit, or a person in two splits.
    """
    split_of: dict[int, tuple[str, str]] = {}  # person -> (split, the first file that lists the person)
    images = []
    tests = [entry for entry in lists if entry[1] == "test"]
    trains = [file for file, split, _ in lists if split != "test"]
    if has_only_tests(root, trains, [file for file, *_ in tests]):
        lists = tests
    for file, split, modality in lists:
        for path in listed(root, file, title):
            match = names[modality].fullmatch(path)
            if match is None:
                raise badly_named(root, file, path, title, example)
            person_id = int(match["person_id"])
            before, other = split_of.setdefault(person_id, (split, file))
            if before != split:
                raise UserError(
                    f"{root}/{file} lists identity {person_id}, and so does {other}; take it off one of them."
                )
            camera = int(match.groupdict().get("camera", modality + 1))
            images.append((path, person_id, camera, modality, split))
    paths = [path for path, *_ in images]
    say_unlisted(root, {path.split("/")[0] for path in paths}, paths)
    return tabulate(images)


def both_directions(
    records: Records,
    titles: Mapping[str, str],
    galleries: Callable[[Int[np.ndarray, "n"]], tuple[Int[np.ndarray, "_"], ...]],
    hidden: Hidden,
    unit: Literal["identity", "image"],
) -> list[Search]:
    """Looks for every RGB image among IR images, and for every IR image among RGB images.

    Args:
        records: the test images.
        titles: the two searches in words by their names, RGB probes first.
        galleries: (rows of a modality) -> the rows of each trial's gallery.
        hidden: the gallery images that a probe does not see.
        unit: what a rank counts.
    """
    rgb, ir = (np.flatnonzero(records.modality == modality) for modality in (RGB, IR))
    return [
        Search(name, title, probes, galleries(gallery), hidden, unit)
        for (name, title), (probes, gallery) in zip(titles.items(), ((rgb, ir), (ir, rgb)), strict=True)
    ]
