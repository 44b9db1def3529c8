"""The TFDS builder `sysu_mm01`, for the real dataset and for a drawn one."""

from rgbir_jax.data.datasets.tree_builder import TreeBuilder


class Builder(TreeBuilder):
    """SYSU-MM01: people seen by four RGB and two infrared cameras. Splits train, val and test."""

    DESCRIPTION = "RGB-infrared person re-identification: 491 people, four RGB and two infrared cameras."
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "manual_dir is the dataset's own tree: cam1 to cam6 and exp; its authors send it on request. "
        "To draw one: python -m rgbir_jax.synthetic --out DIR"
    )
