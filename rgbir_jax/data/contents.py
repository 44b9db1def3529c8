"""What a dataset holds, wherever its tree lies and whenever it was copied: its people and checksums of its images."""

import os
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt32
from ml_collections import ConfigDict
from tqdm import tqdm

from rgbir_jax.data.decoding import in_threads
from rgbir_jax.data.sources import prepared_folder
from rgbir_jax.datasets import find_dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.errors import UserError
from rgbir_jax.lookup import expanded

FILE = "checksums.npy"  # of all images of a tree, in the folder of its decoded images


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The people and images of a dataset. What older versions did not note is empty, and is not compared.

    Attributes:
        people: person_id of each training identity; the place of one is its label.
        names: the name of each, by label, if the dataset has names.
        images: the number of training images of each, by label.
        checksums: a checksum of the names and bytes of these images, by label.
        parts: a checksum of all images of the part "val" and of the part "test".
    """

    people: list[int]
    names: list[str] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    checksums: list[str] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)

    def difference(self, now: "Contents") -> str:
        """Says how the training images of another dataset differ, as the end of "was trained on"; empty if they do not.

        Numbers of persons who have names are not compared: they change if somebody else comes into the tree.
        """
        both_named = self.names and now.names
        here, there = (it.names if both_named else [str(number) for number in it.people] for it in (self, now))
        if here != there:
            strangers = [name for name in (*here, *there) if name not in here or name not in there]
            such = f"such as {strangers[0]}" if strangers else "or the same in another order"
            return f"{len(here)} other identities than the {len(there)} of this dataset, {such}"
        for name, before, after in zip(here, self.images, now.images, strict=False):
            if before != after:
                return f"{before} image{'s' * (before != 1)} of identity {name}, and this dataset has {after}"
        for name, before, after in zip(here, self.checksums, now.checksums, strict=False):
            if before != after:
                return f"other images of identity {name} than those of this dataset"
        return ""


def contents_of(config: ConfigDict, records: Records) -> Contents:
    """Describes the dataset of a config. Its images are read the first time only.

    Args:
        config: `dataset`, `data_dir`, `prepared_dir` and `train_split`.
        records: its table.

    Raises:
        UserError: for an image that cannot be read.
    """
    dataset, root = find_dataset(config.dataset), expanded(config.data_dir)
    of_image = _checksums(root, records, prepared_folder(config.prepared_dir, root, records))

    def digest(rows: Int[np.ndarray, "n"]) -> str:
        lines = (f"{records.path[row]} {of_image[row]:08x}\n" for row in rows)
        return sha256("".join(lines).encode()).hexdigest()[:12]

    training = dataset.rows(records, config.train_split)  # may be empty: scoring needs nobody who trains
    people, label = np.unique(records.person_id[training], return_inverse=True)
    by_person = [training[label == place] for place in range(len(people))]
    numbers = dataset.person_numbers(records) if dataset.person_numbers else {}
    name_of = {number: name for name, number in numbers.items()}
    return Contents(
        people=people.tolist(),
        names=[name_of[number] for number in people.tolist()] if name_of else [],
        images=[len(rows) for rows in by_person],
        checksums=[digest(rows) for rows in by_person],
        parts={part: digest(dataset.rows(records, part)) for part in ("val", "test")},
    )


def _checksums(root: Path, records: Records, prepared: Path) -> UInt32[np.ndarray, "images"]:
    """Returns the CRC-32 of each image file. It is kept with the decoded images, whose folder is of unchanged files."""
    path = prepared / FILE
    with suppress(OSError, ValueError, EOFError):
        kept = np.load(path)
        if kept.shape == (len(records),) and kept.dtype == np.uint32:
            return kept
    checksums = in_threads(partial(_checksum, root), records.path)
    shown = tqdm(checksums, "checksums of images", len(records), unit="image", delay=2)
    values = np.fromiter(shown, np.uint32, len(records))
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    with suppress(OSError):  # it only saves time
        try:
            with unfinished.open("wb") as file:
                np.save(file, values)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return values


def _checksum(root: Path, path: str) -> int:
    try:
        return zlib.crc32((root / path).read_bytes())
    except OSError as error:
        raise UserError(f"{root / path} cannot be read ({error.strerror}); replace it with a whole copy.") from error
