"""Datasets: one file each holds all that is known of its tree, its identities and its protocols."""

from pathlib import Path

import numpy as np

from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.duke import DUKE
from rgbir_jax.datasets.folders import FOLDERS
from rgbir_jax.datasets.llcm import LLCM
from rgbir_jax.datasets.market1501 import MARKET1501
from rgbir_jax.datasets.msmt17 import MSMT17
from rgbir_jax.datasets.regdb import REGDB
from rgbir_jax.datasets.sysu_mm01 import SYSU_MM01
from rgbir_jax.lookup import find

DATASETS = {dataset.name: dataset for dataset in (SYSU_MM01, REGDB, LLCM, FOLDERS, MARKET1501, MSMT17, DUKE)}


def find_dataset(name: str, key: str = "config.dataset") -> Dataset:
    """Returns the dataset of a name.

    Args:
        name: a key of `DATASETS`, or the import path of a user's own dataset, "package.module:NAME".
        key: the name of what holds the name, for the message.

    Raises:
        UserError: for an unknown name, or one of something else.
    """
    return find(name, DATASETS, Dataset, key)


def recognise(root: Path) -> Dataset | None:
    """Returns the dataset whose `marks` a folder has, most of them at least; None if there is none."""

    def share(dataset: Dataset) -> float:
        return np.mean([any(root.glob(mark)) for mark in dataset.marks]).item() if dataset.marks else 0.0

    best = max(DATASETS.values(), key=share)
    return best if share(best) >= 0.5 else None
