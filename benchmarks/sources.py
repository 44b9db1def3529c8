"""A tree of SYSU-MM01, real or drawn, opened in one of the ways that a config can name."""

from ml_collections import ConfigDict

from rgbir_jax.data.source import Source, open_source


def opened(name: str, data_dir, prepared_dir, image_size: tuple[int, int]) -> Source:
    """The source "tfds" or "memory" of a tree; prepares it where `prepared_dir` has not got it."""
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
