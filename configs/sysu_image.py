"""The paper's image-space system on SYSU-MM01 (section 3 and 4.2), at full size: Method1 and Method2 of Tables 7, 8.

    python train.py --config configs/sysu_image.py --workdir runs/sysu_image --config.data_dir DIR
    python eval.py --workdir runs/sysu_image

`DIR` is the dataset's own tree (README, "Train and score"). Presets, as `configs/sysu_image.py:NAME`:

    paper     the paper's equations, and DG-Net's choices if the paper gives none (the default)
    best      as paper, but E_s sees contours in place of grey tones, L_cross replaces L_simple, and a triplet loss on
              E_a's features is added: on drawn people, swapped images are nearer to the truth, and more people are
              found (docs/results.md)
    dgnet     what DG-Net's released system does
    released  what the paper's released code does: as dgnet, but people are recognised by the structure code, with a
              triplet loss and without a teacher
    market    the paper's Method2: E_s, the ResNet of E_a, G and D start from runs/market_image
              (configs/market_image.py), the heads are new; --config.image.transfer_from names another run
    teacher   the teacher only; --config.teacher.from_run uses it in a run of another preset

The paper starts the ResNets from ImageNet weights. --config.resnet50 FILE does so with torchvision's ResNet-50. Without
the file they start from random weights, for which these learning rates are too small.

Hardware: meant for one accelerator with 16 GB or more, or several: 8 identities x 2 modalities x 2 images of 256x128.
64,000 steps of the teacher (`released` has none) and 150,000 of the image system.
Score: the paper prints rank-1 45.44, mAP 46.84 for Method1 and 52.51, 49.51 for Method2 (all-search, single-shot, its
Table 7), and 51.95, 63.11 and 53.53, 63.12 (indoor-search, single-shot, Table 8). The notebook of the released code
prints rank-1 11.49, mAP 14.54 (all-search, single-shot). We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs.common import check_preset

PRESETS = ("paper", "best", "dgnet", "released", "market", "teacher")


def get_config(preset: str = "paper") -> ConfigDict:
    """Returns the recipe (teacher, then image system) with every option."""
    check_preset(preset, PRESETS)
    config = ConfigDict()
    config.recipe = ("teacher", "image")  # stages in order; each name is a section below
    config.seed = 0
    config.dtype = "bfloat16"  # type of the convolutions; parameters, statistics and losses are float32

    config.dataset = "sysu_mm01"
    config.data_dir = "data/SYSU-MM01"
    config.prepared_dir = ""  # folder of the decoded images; empty: next to data_dir
    config.source = "tf_data"  # "memory" needs no TensorFlow
    config.image_size = (256, 128)
    # "trainval" as in the paper: the last checkpoint is scored. "train" (296 identities): the best on "val" is scored.
    config.train_split = "trainval"
    config.modalities = (0, 1)  # 0 RGB, 1 IR
    # identities x modalities x shots images per iteration. With more parts, image stages process them one after the
    # other and need less memory.
    config.batch = {"identities": 8, "shots": 2, "parts": 1}
    config.patience_nonfinite = 10  # iterations skipped in a row, for losses or gradients of NaN, that stop training
    config.protocol = "official"
    config.rand_perm = ""  # empty: rand_perm_cam.mat in data_dir

    config.resnet50 = ""  # file of torchvision's ResNet-50 (.pth or .safetensors) to start from; empty: random
    config.augment = {"pad": 10, "erase": {"probability": 0.5, "area": (0.02, 0.4), "aspect": (0.3, 3.3)}}

    E_a = {"kind": "resnet50", "width": 64, "blocks": (3, 4, 6, 3), "slices": "part"}
    head = {"bottleneck": 512, "dropout": 0.5}
    adam = {"kind": "adam", "learning_rate": 1e-4, "b1": 0.0, "b2": 0.999, "l2": 5e-4, "clip": 0.0}
    sgd = {"kind": "sgd", "learning_rate": 0.002, "momentum": 0.9, "l2": 5e-4, "clip": 0.0}
    every = {"log_every": 100, "pictures_every": 5_000, "evaluate_every": 5_000, "checkpoint_every": 1_000}

    config.teacher = {
        "stage": "classifier",
        "from_run": "",  # a finished run whose stage of this name is used as it is; empty: train it here
        "steps": 64_000,  # 60 epochs of 34,167 images
        "start_from": "",  # an earlier classifier stage from which this one continues
        "total_scale": 1.0,
        "networks": {"E_a": E_a | {"pool": "avg"}, "head": head, "heads": ("head",)},
        "optimizers": {
            "trunk": sgd | {"networks": ("E_a",)},
            "head": sgd | {"networks": ("head",), "learning_rate": 0.02},
        },
        "decay": {"at": (43_000,), "factor": 0.1, "warmup": 0},
    } | every

    config.image = {
        "stage": "image",
        "from_run": "",
        "steps": 150_000,
        "teacher": "teacher",  # the stage whose predictions L_dis uses
        "start_from": "",  # a stage whose E_a and head this one starts from
        "transfer_from": "",  # a run: E_s, E_a, G and D start from its stage of this name, heads are new
        "networks": {
            "recognises": "appearance",  # the heads see E_a; or "structure": they see E_s through E_id
            "E_a": E_a | {"pool": "max"},
            "head": head,
            "heads": ("head",),
            "E_s": {"width": 16, "code": 128, "sees": "grey"},  # or "contours", without tones
            "G": {"mlp": 512},
            "D": {"width": 32, "num_scales": 1, "init_std": 0.02},
        },
        "optimizers": {
            "generation": adam | {"networks": ("E_s", "G")},
            "discrimination": adam | {"networks": ("D",)},
            "trunk": sgd | {"networks": ("E_a",)},
            "head": sgd | {"networks": ("head",), "learning_rate": 0.02},
        },
        "decay": {"at": (60_000, 90_000, 105_000), "factor": 0.1, "warmup": 0},
        # One weight per term; 0 removes the term and its cost.
        "weights": {
            "L_simple": 5.0,  # lambda_recon
            "L_cross": 5.0,  # lambda_recon
            "L_id_orig": 1.0,
            "L_fine_orig": 0.0,  # the loss of a second head on anchors
            "L_fine_recon": 0.0,  # the same on swapped images, labelled by their structure
            "L_id_recon": 0.5,  # lambda_id
            "L_code_s": 1.0,
            "L_code_a": 1.0,
            "L_adv_D": 1.0,
            "L_adv_G": 1.0,
            "L_R1": 0.0,
            "L_dis": 1.0,
            "L_cycle": 0.0,
            "L_triplet": 0.0,  # batch-hard, on real images
        },
        # Terms that start late, and how much their weights grow per iteration from then on.
        "ramp": {"start": 30_000, "slope": {"L_code_s": 5e-4, "L_code_a": 5e-4, "L_dis": 5e-4, "L_cycle": 5e-4}},
        "total_scale": 2.0,  # factor of L_total: DG-Net adds the means of two half-batches; its rates assume it
        # Choices in which the paper and DG-Net differ.
        "adversarial": "bce",  # or "lsgan"
        "teacher_kl": "p||q",  # or "q||p"
        "detach_appearance": False,  # True: reconstruction does not train E_a
        "freeze_appearance": False,  # True: a fixed copy of the recogniser judges swapped images, except in L_dis
        "alternate_structure": False,  # True: L_code_s trains, at random, E_s or the image to match a fixed s_1
        "swaps": "any",  # modality of x_2; or "within" that of x_1, or "across" from it
        "triplet_on": "logits",  # what L_triplet compares; or "pooled", the features that the heads see
        "margin": 2.0,  # m of L_triplet
    } | every

    match preset:
        case "paper":
            pass
        case "best":
            _best(config)
        case "dgnet":
            _dgnet(config)
        case "released":
            _dgnet(config)
            _released(config)
        case "market":
            config.image["transfer_from"] = "runs/market_image"
        case "teacher":
            config.recipe = ("teacher",)
    return config


def _best(config: ConfigDict) -> None:
    # Grey tones would let G take the lightness of garments from s, and all that infrared images show.
    config.image.networks.E_s.sees = "contours"
    # G(a_1, s_1) can take the colours of the background from a_1, which a swapped image must not; G(a_positive, s_1)
    # usually cannot, because the second image is mostly from another camera. The larger weight keeps the identity terms
    # from painting what only E_a sees.
    config.image.weights.update({"L_simple": 0.0, "L_cross": 20.0})
    # AGW's ranking loss: features of one identity close together, whichever camera took the images.
    config.image.weights.L_triplet = 1.0
    config.image.update({"triplet_on": "pooled", "margin": 0.3})


def _dgnet(config: ConfigDict) -> None:
    image = config.image
    image.networks.E_a.slices = "channel"
    image.networks.heads = ("head", "head_fine")
    image.networks.head_fine = image.networks.head.to_dict() | {"dropout": 0.75}
    image.networks.D.num_scales = 3
    image.optimizers.head.networks = ("head", "head_fine")
    image.weights.update({
        "L_id_orig": 2.0,  # the mean over anchors plus the mean over positives
        "L_fine_orig": 0.4,
        "L_fine_recon": 0.4,
        "L_code_a": 0.0,
        "L_R1": 0.01,
        "L_dis": 2.0,
        "L_cycle": 2.0,
    })  # fmt: skip
    image.ramp.slope.update({"L_fine_orig": 1e-4, "L_fine_recon": 1e-4})
    image.adversarial = "lsgan"
    image.teacher_kl = "q||p"
    image.detach_appearance = True
    image.freeze_appearance = True
    image.alternate_structure = True


def _released(config: ConfigDict) -> None:
    config.recipe = ("image",)
    image = config.image
    image.teacher = ""
    image.networks.recognises = "structure"
    image.networks.E_id = {"kind": "resnet18", "width": 64, "blocks": (2, 2, 2, 2), "hidden": 64}
    image.optimizers.trunk.networks = ("E_a", "E_id")
    image.weights.update({"L_dis": 0.0, "L_triplet": 1.0})
    image.detach_appearance = False  # no other loss trains E_a
