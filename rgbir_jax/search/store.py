"""The folder of an index. `index.json` names its other files, so an index changes when this one file is replaced.

index.json      what it is, and the names of the files below
vectors-N.npy   unit vectors float32 [n, dim]: a file per block of images that was added
table-N.npz     the images, see `rgbir_jax.search.table`
faiss-N.index   of large galleries, see `rgbir_jax.search.approximate`
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_origin, get_type_hints

import numpy as np
from jaxtyping import Float32, Int64

from rgbir_jax.errors import UserError
from rgbir_jax.files import LOCK, whole_file
from rgbir_jax.search.table import Table

INFO = "index.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Info:
    """The content of index.json.

    Attributes:
        format: the number of this form of folders.
        run: the fingerprint of the run that computed the vectors.
        run_name: what the run is opened by.
        image_size: (height, width) in pixels that images were resized to.
        gallery: the folder of the images, relative to that of the index.
        kind: "auto", "exact", "ivfpq" or "hnsw": how it should be searched.
        searched: "exact", "ivfpq" or "hnsw": how it is searched.
        written: how often it was written; the N of new files.
        vectors: the names of the files of vectors, in order.
        table: the name of the table's file.
        faiss: the name of FAISS's file; empty without one.
        trained_on: the number of vectors that FAISS's lists were trained on.
    """

    format: int
    run: str
    run_name: str
    image_size: list[int]
    gallery: str
    kind: str
    searched: str
    written: int
    vectors: list[str]
    table: str
    faiss: str
    trained_on: int

    @classmethod
    def new(cls, run: str, run_name: str, image_size: list[int], gallery: str, kind: str) -> "Info":
        """Describes an index without images."""
        return cls(
            format=FORMAT, run=run, run_name=run_name, image_size=image_size, gallery=gallery, kind=kind,
            searched="exact", written=0, vectors=[], table="", faiss="", trained_on=0,
        )  # fmt: skip


def damaged(folder: Path, reason: object) -> UserError:
    """Returns the UserError for an index that cannot be read."""
    return UserError(f"{folder} is no whole index ({reason}); delete it and make it once more with rgbir-index.")


def is_index(folder: Path) -> bool:
    """Says whether a folder holds an index."""
    return (folder / INFO).is_file()


def read_info(folder: Path) -> Info:
    """Reads index.json.

    Raises:
        UserError: if it is damaged, or of another form of folders.
    """
    try:
        values = json.loads((folder / INFO).read_text())
        kinds = {name: get_origin(kind) or kind for name, kind in get_type_hints(Info).items()}
        is_right = values.keys() == kinds.keys() and all(isinstance(values[name], kinds[name]) for name in kinds)
    except (ValueError, AttributeError, OSError, RecursionError) as error:
        raise damaged(folder, error) from error
    if values.get("format", FORMAT) != FORMAT:
        raise UserError(f"{folder} was made by another version of rgbir-index; make another index with this one.")
    if not is_right:
        raise damaged(folder, f"{INFO} has other values")
    return Info(**values)


def check_no_other(folder: Path) -> None:
    """Refuses a folder that holds something else than an index, and a file.

    Raises:
        UserError: naming it.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder for the index.")
    others = [entry.name for entry in folder.iterdir() if not _is_own(entry.name)] if folder.is_dir() else []
    if others and not is_index(folder):
        raise UserError(f"{folder} is no index, and {others[0]} is in it; name a new folder for the index.")


def write(folder: Path, info: Info, table: Table, added: Float32[np.ndarray, "_ dim"] | None = None) -> Info:
    """Writes an index, with further vectors or without. It changes at once, or, after an error, not at all.

    Args:
        folder: its folder.
        info: what it is, with the names of the files of vectors that it keeps.
        table: its images.
        added: the vectors to add.

    Returns:
        The new content of index.json.

    Raises:
        UserError: if a file cannot be written.
    """
    number = info.written + 1
    info = replace(info, written=number, table=f"table-{number}.npz")
    if added is not None:
        info = replace(info, vectors=[*info.vectors, f"vectors-{number}.npy"])
        with whole_file(folder / info.vectors[-1]) as file:
            np.save(file, added)
    with whole_file(folder / info.table) as file:
        table.write(file)
    with whole_file(folder / INFO) as file:
        file.write(json.dumps(asdict(info), indent=1).encode() + b"\n")
    for entry in folder.iterdir():  # of earlier states, and what a killed program left
        if _is_own(entry.name) and entry.name not in (INFO, LOCK, info.table, info.faiss, *info.vectors):
            with suppress(OSError):
                entry.unlink()
    return info


def _is_own(name: str) -> bool:
    return name.startswith(("vectors-", "table-", "faiss-", INFO)) or name == LOCK


class Vectors:
    """The vectors of an index. They stay in their files until they are used."""

    def __init__(self, parts: Sequence[Float32[np.ndarray, "_ dim"]]):
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    @classmethod
    def open(cls, folder: Path, names: Sequence[str]) -> "Vectors":
        """Opens files of vectors.

        Raises:
            ValueError: if they do not hold vectors of one length.
        """
        parts = [np.load(folder / name, mmap_mode="r") for name in names]
        kinds = {(part.dtype, part.ndim, part.shape[1:]) for part in parts}
        if names and (len(kinds) != 1 or kinds.pop()[:2] != (np.float32, 2)):
            raise ValueError("its vectors are of several kinds")
        return cls(parts)

    def __len__(self) -> int:
        return int(self.ends[-1]) if self.parts else 0

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self.parts[0].shape[1]

    def __getitem__(self, rows: Int64[np.ndarray, "n"]) -> Float32[np.ndarray, "n dim"]:
        """Reads some vectors."""
        part_of = np.searchsorted(self.ends, rows, side="right")
        found = np.empty((len(rows), self.dim), np.float32)
        for number in np.unique(part_of):
            chosen = part_of == number
            begin = self.ends[number - 1] if number else 0
            found[chosen] = self.parts[number][rows[chosen] - begin]
        return found


def relative(gallery: Path, folder: Path) -> str:
    """Returns a gallery's folder as index.json has it, so that both can be moved together."""
    return os.path.relpath(gallery.resolve(), folder.resolve())
