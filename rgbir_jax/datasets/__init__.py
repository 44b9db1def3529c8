"""Datasets: one file each holds all that is known of its tree, its identities and its protocols."""

from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.market1501 import MARKET1501
from rgbir_jax.datasets.sysu_mm01 import SYSU_MM01
from rgbir_jax.lookup import find

DATASETS = {dataset.name: dataset for dataset in (SYSU_MM01, MARKET1501)}


def find_dataset(name: str) -> Dataset:
    """Returns the dataset that `config.dataset` names, by its name or as "package.module:NAME".

    Raises:
        UserError: for an unknown name, or one that names no Dataset.
    """
    return find(name, DATASETS, Dataset, "config.dataset")
