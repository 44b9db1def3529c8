"""Deep zero-padding and one-stream networks on SYSU-MM01 (Wu et al., ICCV 2017).

    python train.py --config configs/sysu_zero_padding.py --workdir runs/sysu_zero_padding --config.data_dir DIR
    python eval.py --workdir runs/sysu_zero_padding

`DIR` is the dataset's own tree (README, "Train and score"). Presets, as `configs/sysu_zero_padding.py:NAME`:

    resnet50         RGB and IR images have a channel each, in which the other modality is 0; a ResNet-50 (the default)
    resnet6          the same with the ResNet-6 of the publication
    one_stream       the ResNet-50 on the images as they are, the one-stream baseline of the publication
    one_stream_grey  the same on grey tones

--config.resnet50 FILE starts a ResNet-50 from ImageNet weights; the kernels of the first layer's two channels are then
the mean of those of the three colours. Nothing else is published with weights: ResNet-6 starts from random ones.

Hardware: meant for one accelerator with 16 GB or more. 64,000 steps of 8 identities x 2 modalities x 2 images.
Score: published are rank-1 14.80, mAP 15.95 for zero-padding and 12.1, 13.7 for one stream (all-search, single-shot),
both with a ResNet-6. A ResNet-50 is not what these figures are of. We have no score of this code on the real data yet.
Deviations: the publication's optimiser and iterations are not known, so the schedule is that of the teacher of
`configs/sysu_image.py`; a batch has as many IR as RGB images; images are moved by up to 22 pixels with their edges
repeated, and flipped; the features of an image and of its mirror image are added.
"""

from ml_collections import ConfigDict

from configs import sysu_image
from configs.common import check_preset

# What E_a sees, and its ResNet.
PRESETS = {
    "resnet50": ("zero_padded", "resnet50", (3, 4, 6, 3)),
    "resnet6": ("zero_padded", "resnet18", (1, 1, 1, 1)),  # one block of two convolutions per stage
    "one_stream": ("rgb", "resnet50", (3, 4, 6, 3)),
    "one_stream_grey": ("grey", "resnet50", (3, 4, 6, 3)),
}


def get_config(preset: str = "resnet50") -> ConfigDict:
    """Returns a recipe of one stage, with the data, batches, optimisers and steps of the teacher of `sysu_image`."""
    check_preset(preset, PRESETS)
    image = sysu_image.get_config("teacher")
    config = ConfigDict({key: value for key, value in image.to_dict().items() if key not in ("teacher", "image")})
    config.recipe = ("one_stream",)
    config.image_size = (224, 224)
    config.augment.pad = 22  # a tenth of each side
    config.augment.erase.probability = 0.0
    config.one_stream = image.teacher
    seen, kind, blocks = PRESETS[preset]
    config.one_stream.input = seen  # "rgb", "grey" or "zero_padded"
    config.one_stream.networks.E_a.update({"kind": kind, "blocks": blocks, "last_stride": 2})
    config.one_stream.networks.head.update({"bottleneck": 0, "dropout": 0.0})  # a linear layer on the pooled features
    return config
