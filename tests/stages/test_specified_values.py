"""What is known of the training of other authors' systems, as numbers: the recipes must have them."""

import importlib

import pytest

ERASED_BY_HICMD = {"pad": 0, "erase": {"probability": 0.5, "area": (0.02, 0.4), "aspect": (0.3, 3.33)}}
SGD = {"kind": "sgd", "momentum": 0.9, "l2": 5e-4, "clip": 0.0}
PAIRS = {
    "image_size": (288, 144),
    "train_split": "trainval",
    "protocol": "official",
    "batch.identities": 32,
    "batch.shots": 1,
    "augment.pad": 10,
    "augment.erase.probability": 0.0,
    "STAGE.steps": 42_456,
    "STAGE.decay": {"at": (20_880, 41_760), "factor": 0.1, "warmup": 0},
    "STAGE.networks.stream.last_stride": 2,
    "STAGE.networks.head.bottleneck": 512,
    "STAGE.optimizers.trunk": SGD | {"learning_rate": 0.001, "networks": ("rgb", "ir")},
}
CMPIG_GAN = {"kind": "adam", "learning_rate": 1e-4, "b1": 0.5, "b2": 0.999, "l2": 1e-4, "clip": 0.0}
CMPIG_WEIGHTS = {"L_recon": 10.0, "L_cyc": 10.0, "L_gan": 1.0, "L_feature": 1.0, "L_D": 1.0}
HICMD = {
    "image_size": (256, 128),
    "train_split": "train",
    "protocol": "official",
    "augment": ERASED_BY_HICMD,
    "batch.shots": 1,
    "hicmd.weights": {
        "L_same": 50.0,
        "L_cross": 50.0,
        "L_cycle": 50.0,
        "L_code": 10.0,
        "L_kl": 1.0,
        "L_adv": 20.0,
        "L_D": 20.0,
        "L_R1": 20 * 0.01 * 2,
        "L_CE": 1.0,
        "L_trip": 1.0,
    },
    "hicmd.margin": 0.5,
    "hicmd.decay.factor": 0.5,
    "hicmd.optimizers.generation.learning_rate": 1e-4,
    "hicmd.optimizers.generation.b1": 0.5,
    "hicmd.optimizers.generation.l2": 1e-4,
    "hicmd.optimizers.generation.networks": ("E_p_rgb", "E_p_ir", "E_t_rgb", "E_t_ir", "G"),
    "hicmd.optimizers.discrimination.learning_rate": 1e-4,
    "hicmd.optimizers.discrimination.b1": 0.5,
    "hicmd.optimizers.discrimination.l2": 1e-4,
    "hicmd.optimizers.recognition": SGD | {"learning_rate": 0.001, "l2": 1e-4, "networks": ("HFL", "head")},
    "hicmd.optimizers.mixture": SGD | {"learning_rate": 1e-5, "l2": 1e-4, "networks": ("w",)},
}
CMPIG = {
    "image_size": (256, 128),
    "train_split": "trainval",
    "protocol": "official",
    "batch.identities": 16,
    "batch.shots": 4,
    "augment.pad": 0,
    "augment.erase.probability": 0.0,
    "generation.drawn": {"identities": 3, "shots": 3},
    "generation.weights": CMPIG_WEIGHTS,
    "generation.decay.at": (),
    "generation.optimizers": {
        "generation": CMPIG_GAN | {"networks": ("style_rgb", "style_ir", "G_rgb", "G_ir")},
        "discrimination": CMPIG_GAN | {"networks": ("D_rgb", "D_ir")},
    },
    "cmpig.steps": 10_000,
    "cmpig.decay": {"at": (6_000,), "factor": 0.1, "warmup": 0},
    "cmpig.weights": CMPIG_WEIGHTS | {"L_cls": 1.0, "L_triplet": 1.0, "L_align": 0.01},
    "cmpig.smoothing": 0.1,
    "cmpig.margin": 0.3,
    "cmpig.optimizers.generation": CMPIG_GAN | {"networks": ("style_rgb", "style_ir", "G_rgb", "G_ir")},
    "cmpig.optimizers.discrimination": CMPIG_GAN | {"networks": ("D_rgb", "D_ir")},
    "cmpig.optimizers.recognition": {
        "kind": "adam",
        "learning_rate": 4.5e-4,
        "b1": 0.9,
        "b2": 0.999,
        "l2": 5e-4,
        "clip": 0.0,
        "networks": ("E_sl", "E_il", "neck"),
    },
}
ERASED = {"probability": 0.5, "area": (0.02, 0.4), "aspect": (0.3, 3.33)}
TWO_STEM = {
    "image_size": (288, 144),
    "protocol": "agw",
    "train_split": "trainval",
    "batch": {"identities": 8, "shots": 4, "parts": 1},
    "augment.pad": 10,
    "augment.erase.probability": 0.0,
    "STAGE.networks.resnet.last_stride": 1,
    "STAGE.networks.resnet.blocks": (3, 4, 6, 3),
    "STAGE.margin": 0.3,
    "STAGE.epsilon": 1e-6,
    "STAGE.similarity": {"neck": 1.0, "pooled": 0.0},
    "STAGE.optimizers.trunk": SGD | {"learning_rate": 0.01, "networks": ("rgb", "ir", "body")},
    "STAGE.optimizers.head": SGD | {"learning_rate": 0.1, "networks": ("neck",)},
}
NO_TERM = dict.fromkeys(("L_id_part", "L_tri", "L_tri_part", "L_wrt", "L_esd"), 0.0)
NO_CHANGE = {"grey": 0.0, "mix": 0.0, "scale": 0.0, "exchange": False}
RLE = TWO_STEM | {
    "image_size": (384, 192),
    "batch": {"identities": 6, "shots": 4, "parts": 1},
    "augment.erase.probability": 0.5,
    "augment.erase": ERASED | {"fill": (0.02795, 0.11696, 0.18)},
    "rle.networks.pool": "parts",
    "rle.steps": 151 * 928,
    "rle.decay": {"at": (20 * 928, 80 * 928, 120 * 928), "factor": 0.1, "warmup": 10 * 928},
    "rle.weights": NO_TERM | {"L_id": 1.0, "L_id_part": 1.0, "L_tri": 1.0, "L_tri_part": 1.0},
    "STAGE.similarity": {"neck": 0.2, "pooled": 0.8},
    "STAGE.optimizers.head": SGD | {"learning_rate": 0.1, "networks": ("neck", "neck_1", "neck_2", "neck_3")},
}
SPECIFIED = {
    "sysu_zero_padding": {
        "one_stream.steps": 64_000,
        "image_size": (224, 224),
        "batch": {"identities": 8, "shots": 2, "parts": 1},
        "augment.pad": 22,
        "augment.erase.probability": 0.0,
        "one_stream.networks.E_a.last_stride": 2,
        "one_stream.networks.E_a.pool": "avg",
        "one_stream.networks.head": {"bottleneck": 0, "dropout": 0.0},
        "one_stream.total_scale": 1.0,
        "one_stream.optimizers.trunk": SGD | {"learning_rate": 0.002, "networks": ("E_a",)},
        "one_stream.optimizers.head": SGD | {"learning_rate": 0.02, "networks": ("head",)},
    },
    "sysu_agw": TWO_STEM
    | {
        "agw.networks.pool": "gem",
        "agw.networks.resnet.non_local": (0, 2, 3, 0),
        "agw.networks.resnet.non_local_width": 1,
        "agw.steps": 81 * 696,
        "agw.decay": {"at": (20 * 696, 50 * 696), "factor": 0.1, "warmup": 10 * 696},
        "agw.weights": NO_TERM | {"L_id": 1.0, "L_wrt": 1.0},
        "agw.channels": NO_CHANGE,
    },
    "sysu_agw:base": TWO_STEM
    | {
        "agw.networks.pool": "avg",
        "agw.networks.resnet.non_local": (0, 0, 0, 0),
        "agw.steps": 81 * 696,
        "agw.weights": NO_TERM | {"L_id": 1.0, "L_tri": 1.0},
        "agw.channels": NO_CHANGE,
    },
    "sysu_caj": TWO_STEM
    | {
        "augment.erase.probability": 0.5,
        "augment.erase": ERASED | {"fill": (0.4914, 0.4822, 0.4465)},
        "caj.networks.pool": "gem",
        "caj.networks.resnet.non_local": (0, 2, 3, 0),
        "caj.steps": 69_600,
        "caj.weights": NO_TERM | {"L_id": 1.0, "L_esd": 1.0},
        "caj.channels": NO_CHANGE | {"exchange": True},
    },
    "sysu_rle": RLE | {"rle.channels": NO_CHANGE | {"mix": 0.5, "scale": 0.5}},
    "regdb_rle:base": {"rle.channels": NO_CHANGE | {"grey": 0.5}},
    "regdb_two_stream:batch32": {"two_stream.steps": 61 * 65, "two_stream.decay.at": (30 * 65, 60 * 65)},
    "llcm_two_stream:batch32": {"two_stream.steps": 61 * 530, "two_stream.decay.at": (30 * 530, 60 * 530)},
    "regdb_sdl": {"dataset": "regdb", "sdl.steps": 61 * 65, "batch.identities": 32, "batch.shots": 1},
    "regdb_cmpig": {"dataset": "regdb", "generation.steps": 20_000, "cmpig.steps": 10_000},
    "sysu_two_stream:batch32": PAIRS
    | {
        "two_stream.networks.head.dropout": 0.0,
        "two_stream.optimizers.head": SGD | {"learning_rate": 0.01, "networks": ("head",)},
        "two_stream.weights": {"L_id": 1.0, "L_rank": 1.0},
        "two_stream.ranking": {"m1": 0.5, "m2": 0.1, "intra": 0.1},
    },
    "sysu_sdl": PAIRS
    | {
        "sdl.weights": {"L_id_x": 1.0, "L_id_u": 1.0, "L_disp": 1.0, "L_dis": 0.1},
        "sdl.optimizers.head.learning_rate": 0.01,
        "sdl.optimizers.head.l2": 5e-4,
        "sdl.every_head": False,
        "sdl.penalty": "mean",
    },
    "sysu_sdl:released": PAIRS
    | {
        "sdl.weights": {"L_id_x": 1.0, "L_id_u": 1.0, "L_disp": 0.0, "L_dis": 1e-4},
        "sdl.optimizers.head": SGD | {"learning_rate": 0.01, "networks": ("x", "classifier_x")},
        "sdl.optimizers.other_heads": SGD
        | {"learning_rate": 0.001, "networks": ("u", "v_rgb", "v_ir", "classifier_u")},
        "sdl.every_head": True,
        "sdl.penalty": "norm",
    },
    "sysu_cmpig": CMPIG | {"generation.steps": 20_000, "generation.networks.E.stem_relu": True},
    "sysu_cmpig:released": CMPIG | {"generation.steps": 120_000, "generation.networks.E.stem_relu": False},
    "sysu_hicmd": HICMD
    | {
        "batch.identities": 8,
        "hicmd.steps": 50_000,
        "hicmd.decay.at": (12_500, 25_000, 37_500),
        "hicmd.negatives": "pairs",
    },
    "sysu_hicmd:released": HICMD
    | {
        "batch.identities": 6,
        "hicmd.steps": 200_000,
        "hicmd.decay.at": (50_000, 100_000, 150_000),
        "hicmd.negatives": "unpaired",
    },
    "sysu_cmgan": {
        "cmgan.networks.E.last_stride": 2,
        "cmgan.networks.head.hidden": (512,),
        "cmgan.networks.D.hidden": (1000, 500),
        "cmgan.margin": 1.4,
        "cmgan.weights": {"L_id": 1.0, "L_triplet": 1.0, "L_D": 1.0, "L_adv": 0.05},
        "cmgan.optimizers.features": SGD | {"learning_rate": 1e-4, "networks": ("E", "head")},
        "cmgan.optimizers.discrimination": SGD | {"learning_rate": 1e-3, "networks": ("D",)},
    },
    "sysu_deen": {
        "image_size": (384, 144),
        "protocol": "agw",
        "train_split": "trainval",
        "batch": {"identities": 6, "shots": 4, "parts": 1},
        "augment.pad": 10,
        "augment.erase": {
            "probability": 0.5,
            "area": (0.2, 0.8),
            "aspect": (0.3, 3.33),
            "fill": (0.485, 0.456, 0.406),
        },
        "deen.channels": {"grey": 0.5, "mix": 0.0, "scale": 0.0, "exchange": False},
        "deen.networks.resnet.last_stride": 1,
        "deen.networks.dropout": 0.01,
        "deen.weights": {"L_id": 1.0, "L_tri": 1.0, "L_wrt": 0.0, "L_esd": 0.0, "L_cpm": 0.8, "L_ort": 0.01},
        "deen.margin": 0.3,
        "deen.pair_margin": 0.2,
        "deen.similarity": {"neck": 0.5, "pooled": 0.5},
        "deen.optimizers.trunk": SGD | {"learning_rate": 0.01, "networks": ("rgb", "ir", "body")},
        "deen.optimizers.head": SGD | {"learning_rate": 0.1, "networks": ("neck",)},
        "deen.decay": {"at": (20 * 928, 80 * 928), "factor": 0.1, "warmup": 10 * 928},
    },
}


@pytest.mark.parametrize("recipe", SPECIFIED)
def test_recipes_have_the_specified_values(recipe):
    name, _, preset = recipe.partition(":")
    config = importlib.import_module(f"configs.{name}").get_config(*filter(None, [preset]))

    def value(key):
        found = config
        for part in key.replace("STAGE", config.recipe[-1]).split("."):
            found = found[part]
        return found.to_dict() if hasattr(found, "to_dict") else found

    assert {key: value(key) for key in SPECIFIED[recipe]} == SPECIFIED[recipe]
