"""What the recipes of two-stem systems share: AGW, CAJ, RLE and DEEN."""

from collections.abc import Sequence

from ml_collections import ConfigDict

# What published code fills erased rectangles with, (0.4914, 0.4822, 0.4465), once as values of normalised images and
# once as values of images in 0..1, which are normalised here.
BRIGHT, NEAR_MEAN = (0.4914, 0.4822, 0.4465), (0.02795, 0.11696, 0.18)


def two_stem(
    image: ConfigDict,
    name: str,
    *,
    images: int,
    identities: int,
    epochs: int,
    drops: Sequence[int],
    image_size: tuple[int, int],
) -> ConfigDict:
    """Returns a recipe of one stage: the plain system that AGW is compared with, on the data of another recipe.

    An epoch is images // (identities * 4) + 1 iterations, as in published code.

    Args:
        image: the recipe of an image-space system.
        name: the name of the stage.
        images: the number of RGB images of the training identities.
        identities: the number of identities in a batch, each with four RGB and four IR images.
        epochs: the length of the training.
        drops: the epochs after which the learning rates are divided by ten.
        image_size: height and width in pixels.
    """
    config = ConfigDict({key: value for key, value in image.to_dict().items() if key not in image.recipe})
    config.recipe = (name,)
    config.image_size = image_size
    config.batch = {"identities": identities, "shots": 4, "parts": 1}
    config.augment.erase.fill = BRIGHT
    config.augment.erase.aspect = (0.3, 3.33)
    epoch = images // (identities * 4) + 1
    sgd = {"kind": "sgd", "momentum": 0.9, "l2": 5e-4, "clip": 0.0}
    config[name] = {
        "stage": "two_stem",
        "from_run": "",
        "start_from": "",  # an earlier classifier or image stage, whose ResNet both stems and the body start from
        "steps": epochs * epoch,
        "networks": {
            "resnet": {
                "width": 64,
                "blocks": (3, 4, 6, 3),
                "last_stride": 1,
                "non_local": (0, 0, 0, 0),  # blocks of each stage, from its end, that a non-local block follows
                "non_local_width": 1,  # its inner channels, 1 as in released code; 0: half of its input's
            },
            "pool": "avg",  # or "gem", or "parts": also the means of the top, the middle and the bottom
        },
        # Changes of the channels in 0..1, as probabilities; exchange: see stages/channel_views.py.
        "channels": {"grey": 0.0, "mix": 0.0, "scale": 0.0, "exchange": False},
        # One weight per term; 0 removes the term and its cost. Terms with _part are the means over body parts.
        "weights": {
            "L_id": 1.0,
            "L_id_part": 0.0,
            "L_tri": 1.0,
            "L_tri_part": 0.0,
            "L_wrt": 0.0,
            "L_esd": 0.0,
        },
        "margin": 0.3,  # of L_tri
        "epsilon": 1e-6,  # of L_wrt and L_esd, as in released code; 0: exact weights
        # The weight of each kind of features in the similarity that retrieval compares: after BatchNorm, before it.
        "similarity": {"neck": 1.0, "pooled": 0.0},
        "optimizers": {
            "trunk": sgd | {"networks": ("rgb", "ir", "body"), "learning_rate": 0.01},
            "head": sgd | {"networks": ("neck",), "learning_rate": 0.1},
        },
        "decay": {"at": tuple(drop * epoch for drop in drops), "factor": 0.1, "warmup": 10 * epoch},
        "log_every": 100,
        "pictures_every": 0,
        "evaluate_every": 5_000,
        "checkpoint_every": 1_000,
    }
    return config
