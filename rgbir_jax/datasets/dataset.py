"""What is known of a dataset, as one value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int

from rgbir_jax.datasets.records import Records, is_drawn
from rgbir_jax.datasets.search import Search
from rgbir_jax.lookup import choose


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
        read: (folder) -> `Records` of the tree; raises UserError for a broken tree. With several folds it also takes
            the number of one, and without it reads the first.
        splits: the splits of the records that belong to each part: "train", "trainval", "val" and "test".
        identities: published numbers of training identities, by the part that trains.
        protocols: names of its protocols; the first is the default.
        searches: (records of the test images, protocol, folder of the dataset or file that draws its galleries)
            -> the searches of the protocol, in the order of the tables. Rows are those of the given records. Only
            called for one of `protocols`. Features in a file have no folder: they are scored with what --rand_perm
            names if the protocol is in `gallery_files`, and with Path() otherwise.
        gallery_files: for each protocol whose searches read a file: the file's name and where it comes from.
        folds: the number of its divisions into people who train and people who test. Their images should be the same:
            then the images are decoded only once.
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
    gallery_files: Mapping[str, str] = field(default_factory=dict)
    folds: int = 1

    def read_fold(self, root: Path, fold: int) -> Records:
        """Reads the tree with the splits of a fold.

        Args:
            root: the folder.
            fold: `config.fold`, from 1; a dataset without folds ignores it.

        Raises:
            UserError: for a fold that the dataset does not have, or a broken tree.
        """
        if self.folds == 1:
            return self.read(root)
        return self.read(root, choose(fold, range(1, self.folds + 1), "config.fold"))

    def check_protocol(self, protocol: str) -> None:
        """Refuses a protocol that the dataset does not have.

        Raises:
            UserError: naming those that it has.
        """
        choose(protocol, self.protocols, "config.protocol (eval.py: --protocol)")

    def title_of(self, root: Path, records: Records) -> str:
        """Returns the name of a tree in tables: drawn people are never presented as the real dataset."""
        return f"{self.title} (drawn)" if is_drawn(root / records.path[0]) else self.title

    def rows(self, records: Records, part: str) -> Int[np.ndarray, "n"]:
        """Returns the rows of the images of a part of the dataset, such as "test"."""
        return np.flatnonzero(np.isin(records.split, self.splits[part]))

    def training_rows(self, records: Records, train_split: str) -> Int[np.ndarray, "n"]:
        """Returns the rows of the training images.

        Args:
            records: the dataset's table.
            train_split: `config.train_split`, "train" or "trainval".

        Raises:
            UserError: for another value.
        """
        return self.rows(records, choose(train_split, ("trainval", "train"), "config.train_split"))
