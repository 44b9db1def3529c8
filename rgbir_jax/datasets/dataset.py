"""What is known of a dataset, as one value."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from rgbir_jax.datasets.records import Records, is_drawn
from rgbir_jax.datasets.search import Search
from rgbir_jax.errors import UserError
from rgbir_jax.lookup import choose, quoted

KINDS = {int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset: its tree, its identities and its protocols.

    Attributes:
        name: the name in configs and files.
        title: the name in tables and text.
        description: one sentence about its people and cameras.
        homepage: the page that describes it.
        citation: BibTeX of the paper that published it.
        instructions: where its tree comes from and what the tree looks like.
        read: (folder) -> `Records` of the tree; raises UserError for a broken tree. It takes each of `options` by its
            name and has a default for it.
        splits: the splits of the records that belong to each part: "train", "trainval", "val" and "test".
        identities: published numbers of training identities, by the part that trains.
        published: other published numbers, by the names of `commands.check.counts`.
        marks: what its tree has, by which it is recognised: paths relative to its folder, as patterns of `Path.glob`.
        protocols: names of its protocols; the first is the default.
        searches: (records of the test images, protocol, folder of the dataset or file that draws its galleries)
            -> the searches of the protocol, in the order of the tables. Rows are those of the given records. Only
            called for one of `protocols`. Features in a file have no folder: they are scored with what --rand_perm
            names if the protocol is in `gallery_files`, and with Path() otherwise.
        gallery_files: for each protocol whose searches read a file: the file's name and where it comes from.
        options: config keys whose values `read` takes, such as "fold". If the images are the same whatever their
            values, they are decoded only once.
        folds: the values of the option "fold", if it is one.
        unused_options: (folder) -> those of `options` that have no effect in its tree; None: all have one.
        title_from: (folder) -> the name of its tree in tables; None: `title`.
        person_numbers: (records) -> person_id by the person's name; None: persons have only numbers.
    """

    name: str
    title: str
    description: str
    read: Callable[..., Records]
    splits: Mapping[str, tuple[str, ...]]
    protocols: tuple[str, ...]
    searches: Callable[[Records, str, Path], list[Search]]
    homepage: str = ""
    citation: str = ""
    instructions: str = ""
    identities: Mapping[str, int] = field(default_factory=dict)
    published: Mapping[str, int] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    gallery_files: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()
    unused_options: Callable[[Path], tuple[str, ...]] | None = None
    title_from: Callable[[Path], str] | None = None
    person_numbers: Callable[[Records], dict[str, int]] | None = None

    def read_with(self, root: Path, config: ConfigDict) -> Records:
        """Reads the tree with the values that a config has for `options`.

        Raises:
            UserError: for a value that the dataset does not know, or a broken tree.
        """
        options = {key: config[key] for key in self.options if key in config}
        for key, value in options.items():
            default = inspect.signature(self.read).parameters[key].default
            number = isinstance(default, float) and isinstance(value, int)
            if type(value) is not type(default) and not number:
                kind = KINDS.get(type(default), type(default).__name__)
                raise UserError(f"config.{key} is {quoted(value)}; it must be {kind}, such as {quoted(default)}.")
        try:
            return self.read(root, **options)
        except OSError as error:
            raise UserError(f"{error.filename} cannot be read ({error.strerror}); make it readable.") from error

    def check_protocol(self, protocol: str) -> None:
        """Refuses a protocol that the dataset does not have.

        Raises:
            UserError: naming those that it has.
        """
        choose(protocol, self.protocols, "config.protocol (eval.py: --protocol)")

    def title_of(self, root: Path, records: Records) -> str:
        """Returns the name of a tree in tables: drawn people are never presented as the real dataset."""
        title = self.title_from(root) if self.title_from else self.title
        return f"{title} (drawn)" if is_drawn(root / records.path[0]) else title

    def rows(self, records: Records, part: str) -> Int[np.ndarray, "n"]:
        """Returns the rows of the images of a part of the dataset, such as "test"."""
        return np.flatnonzero(np.isin(records.split, self.splits[part]))

    def training_rows(self, records: Records, train_split: str) -> Int[np.ndarray, "n"]:
        """Returns the rows of the training images.

        Args:
            records: the dataset's table.
            train_split: `config.train_split`, "train" or "trainval".

        Raises:
            UserError: for another value, or if nobody trains.
        """
        rows = self.rows(records, choose(train_split, ("trainval", "train"), "config.train_split"))
        if not len(rows):
            raise UserError(
                f"this copy of {self.title} has nobody to train, so it can only be scored; complete it, or set "
                f"--config.data_dir to another one."
            )
        return rows
