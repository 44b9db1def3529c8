"""The images of an index: a table with one row per image, and how a folder differs from it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Bool, Int8, Int64


@dataclass(frozen=True, eq=False)
class Table:
    """One row per image, sorted by path.

    Attributes:
        paths: the file, relative to the gallery's folder.
        modality: 0 RGB, 1 IR.
        vector: the row of its vector.
        size: the file's size in bytes when it was read.
        modified: the time of its last change in nanoseconds.
    """

    paths: list[str]
    modality: Int8[np.ndarray, "n"]
    vector: Int64[np.ndarray, "n"]
    size: Int64[np.ndarray, "n"]
    modified: Int64[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def empty(cls) -> "Table":
        """Returns a table without images."""
        nothing = np.zeros(0, np.int64)
        return cls([], nothing.astype(np.int8), nothing, nothing, nothing)

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Reads the file that `write` writes."""
        with path.open("rb") as file, np.load(file) as columns:
            paths = os.fsdecode(columns["paths"].tobytes())
            others = {name: columns[name] for name in columns if name != "paths"}
        return cls(paths=paths.split("\0") if paths else [], **others)

    def check(self, vectors: int) -> None:
        """Checks a table that was read: its columns, and that it has a vector for each image.

        Args:
            vectors: the number of vectors.

        Raises:
            ValueError: saying what is wrong.
        """
        columns = [getattr(self, field.name) for field in fields(self) if field.name != "paths"]
        if any(column.dtype.kind != "i" or column.shape != (len(self),) for column in columns):
            raise ValueError("the columns of its table do not fit each other")
        if len(self) and not 0 <= self.vector.min() <= self.vector.max() < vectors:
            raise ValueError("its table does not fit its vectors")
        if not np.isin(self.modality, (0, 1)).all() or any(a >= b for a, b in pairwise(self.paths)):
            raise ValueError("its table has other values")
        for path in self.paths:
            if path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"{path} is not in its gallery")

    def write(self, file: BinaryIO) -> None:
        """Writes the table as .npz; the paths are one text, in which a byte 0 separates them."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        columns["paths"] = np.frombuffer(os.fsencode("\0".join(self.paths)), np.uint8)
        np.savez(file, **columns)

    def without(self, gone: Bool[np.ndarray, "n"]) -> "Table":
        """Returns the table without some images."""
        return self.rows(np.flatnonzero(~gone))

    def joined(self, other: "Table") -> "Table":
        """Returns the table with the images of another one, which it does not have."""
        columns = {
            field.name: np.concatenate([getattr(self, field.name), getattr(other, field.name)])
            for field in fields(self)
            if field.name != "paths"
        }
        both = Table(paths=self.paths + other.paths, **columns)
        return both.rows(np.array(sorted(range(len(both)), key=both.paths.__getitem__), np.int64))

    def renumbered(self) -> "Table":
        """Returns the table for vectors that are in its own order."""
        return replace(self, vector=np.arange(len(self)))

    def rows(self, rows: Int64[np.ndarray, "chosen"]) -> "Table":
        """Returns the table of some images."""
        columns = {field.name: getattr(self, field.name)[rows] for field in fields(self) if field.name != "paths"}
        return Table(paths=[self.paths[row] for row in rows.tolist()], **columns)


class Files(NamedTuple):
    """The image files of a gallery.

    Attributes:
        paths: relative to its folder, sorted.
        size: in bytes; -1 for a file that cannot be looked at.
        modified: the time of the last change in nanoseconds.
    """

    paths: list[str]
    size: Int64[np.ndarray, "n"]
    modified: Int64[np.ndarray, "n"]

    @classmethod
    def of(cls, folder: str, paths: Sequence[str]) -> "Files":
        """Looks at files, whose paths begin with the folder's."""
        status = np.array([stamp(path) for path in paths], np.int64).reshape(-1, 2)
        before = os.path.join(folder, "")
        return cls([path.removeprefix(before) for path in paths], status[:, 0], status[:, 1])


class Changes(NamedTuple):
    """How a folder differs from a table.

    Attributes:
        new: rows of the files that the table does not have.
        changed: rows of the files that were written since.
        outdated: which images of the table are of such files.
        vanished: which images of the table have no file.
    """

    new: Int64[np.ndarray, "_"]
    changed: Int64[np.ndarray, "_"]
    outdated: Bool[np.ndarray, "n"]
    vanished: Bool[np.ndarray, "n"]


def changes(table: Table, files: Files) -> Changes:
    """Compares the files of a folder with those of a table, by path, size and time."""
    row_of = {path: row for row, path in enumerate(files.paths)}
    file_of = np.array([row_of.get(path, -1) for path in table.paths], np.int64)
    vanished = file_of < 0
    outdated = ~vanished & ((files.size[file_of] != table.size) | (files.modified[file_of] != table.modified))
    new = np.setdiff1d(np.arange(len(files.paths)), file_of)
    return Changes(new, np.sort(file_of[outdated]), outdated, vanished)


def stamp(path: str | os.PathLike) -> tuple[int, int]:
    """Returns a file's size in bytes and the time of its last change in nanoseconds; (-1, 0) if it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, 0
    return status.st_size, status.st_mtime_ns
