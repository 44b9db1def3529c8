"""Identity, camera and modality of the images of a folder, as far as its tree tells them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rgbir_jax.datasets import recognise
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import MODALITIES, Records
from rgbir_jax.errors import UserError


class Label(NamedTuple):
    """What is known of an image.

    Attributes:
        person: the person's name or number; empty if it is not known.
        camera: the camera's number, from 1; 0 if it is not known.
        modality: 0 RGB, 1 IR; None if it is not known.
    """

    person: str = ""
    camera: int = 0
    modality: int | None = None


def labels(folder: Path, paths: Sequence[str]) -> list[Label]:
    """Returns what is known of images: what the reader of a known dataset says, otherwise what their folders say.

    Args:
        folder: the folder of the images.
        paths: their files, relative to it.
    """
    known = _of_dataset(folder)
    return [known.get(path) or _of_path(path) for path in paths]


def _of_dataset(folder: Path) -> dict[str, Label]:
    dataset = recognise(folder)
    if dataset is None:
        return {}
    try:
        records = dataset.read(folder)
    except UserError as error:
        print(f"The folder looks like {dataset.title}, but {error} Its cameras are not known.", file=sys.stderr)
        return {}
    names = _names(dataset, records)
    columns = (records.path.tolist(), records.person_id.tolist(), records.camera.tolist(), records.modality.tolist())
    return {
        path: Label(names.get(person, str(person)), camera, modality)
        for path, person, camera, modality in zip(*columns, strict=True)
    }


def _names(dataset: Dataset, records: Records) -> dict[int, str]:
    numbers = dataset.person_numbers(records) if dataset.person_numbers else {}
    return {0: "nobody"} | {number: name for name, number in numbers.items()}


def _of_path(path: str) -> Label:
    """Reads rgb/PERSON/... and ir/PERSON/..."""
    modality, _, rest = path.partition("/")
    person, _, name = rest.partition("/")
    return Label(person, 0, MODALITIES.index(modality)) if modality in MODALITIES and name else Label()
