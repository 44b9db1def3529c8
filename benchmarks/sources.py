"""Opens a tree of SYSU-MM01, real or drawn, as a config does."""

from pathlib import Path

from ml_collections import ConfigDict

from rgbir_jax.data.sources import ImageSource, open_source


def opened(name: str, data_dir: str | Path, prepared_dir: str | Path, image_size: tuple[int, int]) -> ImageSource:
    """Opens a tree, and prepares it if `prepared_dir` does not hold it yet.

    Args:
        name: the kind of source, "tf_data" or "memory".
        data_dir: the folder of the tree.
        prepared_dir: the folder for decoded images; empty for one next to the tree.
        image_size: (height, width) in pixels.
    """
    return open_source(
        ConfigDict(
            {
                "dataset": "sysu_mm01",
                "data_dir": str(data_dir),
                "prepared_dir": str(prepared_dir),
                "image_size": image_size,
                "source": name,
            }
        )
    )
