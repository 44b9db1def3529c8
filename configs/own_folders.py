"""The image-space system on your own folders, at full size.

    rgbir-check DIR
    python train.py --config configs/own_folders.py --workdir runs/own --config.data_dir DIR
    python eval.py --workdir runs/own

`DIR` has rgb/PERSON/... and ir/PERSON/..., with images of any format; docs/data.md says how people are divided and
where cameras come from. Presets, as `configs/own_folders.py:NAME`, are those of `configs/sysu_image.py`;
`teacher` is the teacher only.

Hardware: meant for one accelerator with 16 GB or more. The steps are for about 35,000 training images: set those of the
teacher to about 60 epochs.
"""

from ml_collections import ConfigDict

from configs import sysu_image


def get_config(preset: str = "paper") -> ConfigDict:
    """Returns `configs/sysu_image.py` with the data of your own folders."""
    config = sysu_image.get_config(preset)
    use_folders(config)
    return config


def use_folders(config: ConfigDict) -> None:
    """Lets a recipe for SYSU-MM01 train and test on your own folders."""
    config.dataset = "folders"
    config.data_dir = "data/own"
    config.protocol = "all_images"
    # Regular expression for an image's path below the person's folder, such as "cam(?P<camera>\d+)"; empty: none.
    config.camera_pattern = ""
    # Shares of the persons who are tested and validated on, drawn by the seed, unless the tree has train.txt, val.txt
    # or test.txt. With train_split "trainval", those to validate on train.
    config.test_share = 0.25
    config.val_share = 0.0
    config.split_seed = 0
