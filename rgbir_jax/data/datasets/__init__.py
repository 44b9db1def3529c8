"""TFDS builders of the datasets; importing this package registers them.

    import tensorflow_datasets as tfds
    import rgbir_jax.data.datasets

    tree = tfds.download.DownloadConfig(manual_dir="data/SYSU-MM01")  # the dataset's own
    tfds.load("sysu_mm01/256x128", download_and_prepare_kwargs={"download_config": tree})

An example has `image` (uint8, of the size that names the config) and `person_id`, `camera`, `index`,
`modality` and `path` as in `data.layouts.Records`. For another size:

    tfds.builder("sysu_mm01", config=rgbir_jax.data.datasets.resized((128, 64)))
"""

from rgbir_jax.data.datasets.market1501 import market1501_dataset_builder
from rgbir_jax.data.datasets.sysu_mm01 import sysu_mm01_dataset_builder
from rgbir_jax.data.datasets.tree_builder import resized

__all__ = ["market1501_dataset_builder", "resized", "sysu_mm01_dataset_builder"]
