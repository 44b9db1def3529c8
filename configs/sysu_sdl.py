"""SDL, spectrum-disentangled representation learning, on SYSU-MM01 (Kansal et al., TCSVT 2020).

    python train.py --config configs/sysu_sdl.py --workdir runs/sysu_sdl --config.data_dir DIR
    python eval.py --workdir runs/sysu_sdl

`DIR` is the dataset's own tree (README, "Train and score"). Presets, as `configs/sysu_sdl.py:NAME`:

    paper     the losses that the publication names, in a form that we chose (the default)
    released  what the released code computes. A division of integers gives its L_disp the weight 0, and its L_dis
              weighs next to nothing: it is a two-stream network with two identity losses

Hardware: meant for one accelerator with 16 GB or more. 42,456 steps of 32 identities x 2 modalities of 288x144.
Score: the paper quotes rank-1 28.12, mAP 29.01 (all-search, single-shot, its Table 7) and 32.56, 39.56 (indoor-search,
Table 8). We have no score of this code on the real data yet.
Deviations: the publication's equations, weights and schedule could not be read. L_dis is a mean of squares and L_disp a
cross-entropy to the uniform distribution that does not move the classifier; their weights are guesses. The heads learn
ten times as fast as the streams, in the released code only one of them. The schedule is that of preset `batch32` of
`configs/sysu_two_stream.py`. The crop repeats the image's edges, and the features of the mirror image are added.
"""

from ml_collections import ConfigDict

from configs import sysu_two_stream
from configs.common import check_preset

PRESETS = ("paper", "released")
HEADS = ("x", "u", "v_rgb", "v_ir", "classifier_x", "classifier_u")


def get_config(preset: str = "paper") -> ConfigDict:
    """Returns the recipe with the data of `configs/sysu_two_stream.py:batch32`."""
    return sdl(sysu_two_stream.get_config("batch32"), preset)


def sdl(pairs: ConfigDict, preset: str) -> ConfigDict:
    """Returns a recipe of one stage.

    Args:
        pairs: the preset `batch32` of M_bdtr, with whose data, batches and steps it trains.
        preset: one of `PRESETS`.
    """
    check_preset(preset, PRESETS)
    base = pairs.two_stream
    config = ConfigDict({key: value for key, value in pairs.to_dict().items() if key not in pairs.recipe})
    config.recipe = ("sdl",)
    config.sdl = {key: value for key, value in base.to_dict().items() if key != "ranking"} | {
        "stage": "sdl",
        "networks": {"stream": base.networks.stream.to_dict(), "head": {"bottleneck": 512}},
        "optimizers": {
            "trunk": base.optimizers.trunk.to_dict(),
            "head": base.optimizers.head.to_dict() | {"networks": HEADS},
        },
        # One weight per term; 0 removes the term and its cost.
        "weights": {"L_id_x": 1.0, "L_id_u": 1.0, "L_disp": 1.0, "L_dis": 0.1},
        "penalty": "mean",  # of L_disp and L_dis, over images; or "norm" of the whole batch
        "every_head": False,  # True: v_rgb and v_ir see all images, not only those of their own spectrum
    }
    if preset == "released":
        _released(config)
    return config


def _released(config: ConfigDict) -> None:
    sdl = config.sdl
    sdl.weights.update({"L_disp": 0.0, "L_dis": 1e-4})
    sdl.update({"penalty": "norm", "every_head": True})
    sdl.optimizers.head.networks = ("x", "classifier_x")
    others = {"networks": ("u", "v_rgb", "v_ir", "classifier_u"), "learning_rate": 0.001}
    sdl.optimizers.other_heads = sdl.optimizers.head.to_dict() | others
