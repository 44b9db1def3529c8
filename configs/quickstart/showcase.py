"""The quickstart's recipe, longer: 1,000 training identities and a wider generator, to draw people well.

    make showcase

or, after it has drawn the dataset and trained the judge:

    python train.py --config quickstart/showcase --workdir runs/showcase
    python eval.py --workdir runs/showcase --disentanglement --judge runs/judge

Presets, as `quickstart/showcase:NAME`: paper (the default) and dgnet.

Hardware: two CPU cores are enough. 12,000 steps of the teacher and 24,000 of the image system.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config(preset: str = "paper") -> ConfigDict:
    """Returns `configs/quickstart/__init__.py` without the control, with more steps and terms that start later."""
    config = quickstart.small(preset)
    config.data_dir = "data/showcase"
    for name in config.recipe:
        config[name].networks.E_a.pool = "avg"  # the lowest reconstruction error in docs/results.md
    _teacher(config.teacher)
    _image(config.image)
    return config


def _teacher(teacher: ConfigDict) -> None:
    teacher.update({"steps": 12_000, "evaluate_every": 12_000, "checkpoint_every": 1_000})
    teacher.decay.at = (9_000,)
    # Each of a thousand identities is seen rarely: with the quickstart's rate and dropout the head does not learn them.
    teacher.optimizers.head.learning_rate = 2e-3
    for head in teacher.networks.heads:
        teacher.networks[head].dropout = 0.2


def _image(image: ConfigDict) -> None:
    image.update({"steps": 24_000, "log_every": 50, "evaluate_every": 24_000, "checkpoint_every": 500})
    image.pictures_every = 1_000
    image.networks.E_s.code = 64
    image.networks.G.mlp = 64  # most of G's parameters are in its MLPs
    image.networks.D.init_std = 0.1  # with the quickstart's 0.04, and its rate, D stays at chance
    image.optimizers.discrimination.learning_rate = 4e-4
    image.decay.update({"at": (12_000, 18_000, 22_000), "factor": 0.3})
    # G(a_1, s_1) can take the colours of the background from a_1, which a swapped image must not; G(a_positive, s_1)
    # usually cannot, because the second image is mostly from another camera.
    image.weights.update({"L_simple": 1.0, "L_cross": 9.0})
    # With L_id_recon at the paper's 0.5, G hides identities in noise: reconstruction is worse and swaps are spotted.
    image.weights.L_id_recon = 0.2
    image.ramp.update({"start": 3_000, "slope": {term: 2.5e-4 for term in image.ramp.slope} | {"L_id_recon": 2.5e-5}})
