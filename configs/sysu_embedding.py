"""The paper's embedding-space system on SYSU-MM01 (section 4.1): the rows of Table 6.

    python train.py --config configs/sysu_embedding.py:ROW --workdir runs/sysu_embedding_ROW --config.data_dir DIR
    python eval.py --workdir runs/sysu_embedding_ROW

`DIR` is the dataset's own tree (README, "Train and score"). ROW, with the paper's rank-1 and mAP (indoor search):

    simple_dis       L_simple + L_dis                                         1.33   9.07
    simple_dis_cross L_simple + L_dis + L_cross                               8.44  20.43
    random_triplet   L_simple + L_dis + L_cross + L_triplet, random triplets 14.25  28.85
    hard_triplet     the same with hard triplets (the default)               18.20  34.56

Hardware: meant for one accelerator with 16 GB or more, for the 64,000 steps of M_bdtr (`configs/sysu_two_stream.py`).
Its embeddings are extracted once; 5,000 steps of the classifier and 20,000 of the encoders and decoders follow. All
rows can share one M_bdtr and one classifier: set both --config.two_stream.from_run and
--config.embedding_classifier.from_run to runs/sysu_embedding_hard_triplet.
We have no score of this code on the real data yet.
"""

from ml_collections import ConfigDict

from configs import sysu_two_stream
from configs.common import check_preset

# The loss terms of each row, and how its triplets are chosen.
ROWS = {
    "simple_dis": (("L_simple", "L_dis"), "random"),
    "simple_dis_cross": (("L_simple", "L_dis", "L_cross"), "random"),
    "random_triplet": (("L_simple", "L_dis", "L_cross", "L_triplet"), "random"),
    "hard_triplet": (("L_simple", "L_dis", "L_cross", "L_triplet"), "hard"),
}


def get_config(row: str = "hard_triplet") -> ConfigDict:
    """Returns the recipe of a row of Table 6: M_bdtr, the classifier on its embeddings, the encoders and decoders."""
    check_preset(row, ROWS)
    terms, triplets = ROWS[row]
    config = sysu_two_stream.get_config()
    config.recipe = ("two_stream", "embedding_classifier", "embedding")

    adam = {"kind": "adam", "learning_rate": 1e-4, "b1": 0.9, "b2": 0.999, "l2": 0.0, "clip": 0.0}
    every = {"log_every": 100, "pictures_every": 0, "evaluate_every": 1_000, "checkpoint_every": 1_000}

    config.embedding_classifier = {
        "stage": "embedding_classifier",
        "reads": "two_stream",
        "steps": 5_000,
        "from_run": "",
        "networks": {"classifier": {"hidden": 512}},
        "optimizers": {"classifier": adam | {"networks": ("classifier",)}},
        "decay": {"at": (4_000,), "factor": 0.1, "warmup": 0},
    } | every
    config.embedding = {
        "stage": "embedding",
        "reads": "two_stream",
        "steps": 20_000,
        "from_run": "",
        "classifier": "embedding_classifier",  # the stage whose predictions L_dis uses
        "triplets": triplets,  # "random" or "hard"
        "margin": 20.0,  # m of L_triplet; ‖·‖₁ between codes starts near 40
        "networks": {
            "E": {"hidden": (1024, 2048, 512), "code": 64},
            "D": {"hidden": (512, 2048), "rectify": False},
        },
        "optimizers": {"autoencoders": adam | {"networks": ("E_rgb", "E_ir", "D_rgb", "D_ir")}},
        "decay": {"at": (15_000,), "factor": 0.1, "warmup": 0},
        # One weight per term; 0 removes the term and its cost.
        "weights": {term: float(term in terms) for term in ("L_simple", "L_cross", "L_dis", "L_triplet")},
    } | every
    return config
