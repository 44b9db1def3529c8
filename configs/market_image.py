"""The paper's image-space system on Market-1501, RGB only: the starting point of Method2 in Tables 7 and 8.

    python train.py --config configs/market_image.py --workdir runs/market_image --config.data_dir DIR
    python train.py --config configs/sysu_image.py:market --workdir runs/sysu_image_market --config.data_dir SYSU_DIR

`DIR` is Market-1501's own tree (bounding_box_train, query, bounding_box_test). --config.dataset=msmt17 or
--config.dataset=duke takes the tree of MSMT17 or DukeMTMC-reID instead. The second command trains Method2: it
starts from the E_s, the ResNet of E_a, the G and the D of the first. Presets, as `configs/market_image.py:NAME`:

    paper   (the default), for configs/sysu_image.py:market
    dgnet   what DG-Net's released system does on this dataset

Hardware: meant for one accelerator with 16 GB or more: 16 identities x 2 images of 256x128. 24,000 steps of the teacher
and 100,000 of the image system.
The steps are for 12,936 training images; DukeMTMC-reID has 16,522, MSMT17 32,621.
`eval.py` scores it by Market-1501's single-query protocol. The paper prints no score on this dataset, and we have no
score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import sysu_image
from configs.common import check_preset

PRESETS = ("paper", "dgnet")


def get_config(preset: str = "paper") -> ConfigDict:
    """Returns `configs/sysu_image.py` with Market-1501's data."""
    check_preset(preset, PRESETS)
    config = sysu_image.get_config(preset)
    use_market(config)
    config.teacher.steps = 24_000  # 60 epochs of 12,936 images
    config.teacher.decay.at = (16_000,)
    config.image.steps = 100_000
    config.image.decay.at = (60_000, 90_000)
    return config


def use_market(config: ConfigDict) -> None:
    """Lets a recipe for SYSU-MM01 train and test on Market-1501: one modality, with as many images per step."""
    config.dataset = "market1501"
    config.data_dir = "data/Market-1501"
    config.train_split = "trainval"
    config.modalities = (0,)
    config.protocol = "single_query"
    config.batch.identities *= 2
