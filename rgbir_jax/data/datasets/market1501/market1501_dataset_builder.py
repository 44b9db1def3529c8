"""The TFDS builder `market1501`."""

from rgbir_jax.data.datasets.tree_builder import TreeBuilder


class Builder(TreeBuilder):
    """Market-1501: people seen by six RGB cameras. Splits train, query and gallery."""

    DESCRIPTION = "Person re-identification: 1,501 people, six RGB cameras, with distractors in the gallery."
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "manual_dir is the dataset's own tree: bounding_box_train, query and bounding_box_test."
    )
