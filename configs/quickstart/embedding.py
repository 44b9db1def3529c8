"""A narrow version of the embedding-space system, on drawn people: the rows of Table 6.

    make quickstart-table6

Rows, as `quickstart/embedding:ROW`, are those of `configs/sysu_embedding.py`.

Hardware: two CPU cores are enough. 2,400 steps of M_bdtr, 400 of the classifier, 1,000 of the encoders and decoders.
"""

from ml_collections import ConfigDict

from configs import sysu_embedding
from configs.quickstart import two_stream


def get_config(row: str = "hard_triplet") -> ConfigDict:
    """Returns `configs/sysu_embedding.py` on the embeddings of `configs/quickstart/two_stream.py`."""
    config = sysu_embedding.get_config(row)
    two_stream.narrow(config)
    adam = {"learning_rate": 1e-3}

    classifier = config.embedding_classifier
    classifier.update({"steps": 400, "log_every": 50, "evaluate_every": 0, "checkpoint_every": 200})
    classifier.networks.classifier.hidden = 128
    classifier.optimizers.classifier.update(adam)
    classifier.decay.at = (300,)

    embedding = config.embedding
    embedding.update({"steps": 1000, "log_every": 50, "evaluate_every": 250, "checkpoint_every": 250})
    embedding.networks.E.hidden = (256, 512, 128)
    embedding.networks.D.hidden = (128, 512)
    embedding.optimizers.autoencoders.update(adam)
    embedding.decay.at = (750,)
    return config
