"""Retrieval features of many images, on every device of every process, in batches of one size."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from rgbir_jax.data import augment
from rgbir_jax.training import parallel, processes
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State


def extractor(stage: Stage, batch_size: int = 128) -> Callable:
    """Compiles a stage's `features` once, for any number of images.

    Args:
        stage: whose features.
        batch_size: images at a time over all devices of a process; the last batch is padded to it.

    Returns:
        (state, source, rows, progress) -> unit vectors float32 [len(rows), dim]. Of images they are
        f(x) + f(mirrored x), divided by its length: an image and its mirror image show the same person. A stage that
        reads another gets its inputs from `source.embeddings`, which have this behind them. Several processes share
        the work, and all of them get all features. `progress` names the stage in the progress bar and in the error;
        empty for no bar. The function raises FloatingPointError, in all processes, if a feature is not finite.
    """

    def of_images(state, images, modality):
        x = augment.normalise(images)
        both = stage.features(state, jnp.concatenate([x, x[:, :, ::-1]]), jnp.concatenate([modality, modality]))
        return stage.normalise(both[: len(x)] + both[len(x) :])

    def of_embeddings(state, embeddings, modality):
        return stage.normalise(stage.features(state, embeddings, modality))

    compiled = parallel.pmap_forward(of_embeddings if stage.reads else of_images, arguments=3)

    def extract(
        state: State, source, rows: Int[np.ndarray, "n"] | Sequence[int], progress: str = ""
    ) -> Float[np.ndarray, "n dim"]:
        mine = processes.share(np.asarray(rows))
        read = source.embeddings if stage.reads else source.images
        state = parallel.replicate(state)
        size = parallel.round_up(min(batch_size, len(mine)))
        found = []
        shown = bool(progress) and processes.is_first()
        for start in tqdm(range(0, len(mine), size), desc=progress, disable=not shown, unit="batch", leave=False):
            chosen = mine[start : start + size]
            padded = np.resize(chosen, size)  # repeats the rows that there are
            result = compiled(state, parallel.shard(read(padded)), parallel.shard(source.records.modality[padded]))
            found.append(np.asarray(result).reshape(size, -1)[: len(chosen)])
        features = processes.united(np.concatenate(found), len(rows))
        _check_finite(features, progress or f"the stage with the networks {', '.join(stage.networks)}")
        return features

    return extract


def _check_finite(features: Float[np.ndarray, "n dim"], name: str) -> None:
    broken = np.sum(~np.isfinite(features).all(axis=1))
    if broken:
        raise FloatingPointError(
            f"the features of {broken} of {len(features)} images, computed by {name}, are not finite; nothing is "
            f"scored. Use an earlier checkpoint, or train the stage again with a lower learning rate."
        )
