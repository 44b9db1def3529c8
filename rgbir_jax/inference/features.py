"""Retrieval features and swaps: pure functions of images, and features in batches on all devices of all processes."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped, UInt8
from tqdm import tqdm

from rgbir_jax.data import augment
from rgbir_jax.data.source import Source
from rgbir_jax.errors import NotFiniteError
from rgbir_jax.training import parallel, processes
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

BATCH = 128  # inputs at a time over all devices of a process
Chain = tuple[Stage, ...]  # each stage but the first reads the features of the one before
States = tuple[State, ...]  # one per stage


def features(
    chain: Chain, states: States, inputs: Shaped[Array, "n *input"], modality: Int[Array, "n"]
) -> Float[Array, "n dim"]:
    """Computes the retrieval features that Euclidean distance compares.

    An image and its mirror image show the same person, so the features of both are added before they are normalised.

    Args:
        chain: the stages, from the one that sees `inputs` to the one whose features are wanted.
        states: their States.
        inputs: images uint8 [n, height, width, 3]; float32 vectors [n, dim] if the first stage reads another one.
        modality: 0 RGB, 1 IR.

    Returns:
        Unit vectors, float32.
    """
    if chain[0].reads:
        vectors = chain[0].features(states[0], inputs, modality)
    else:
        vectors = of_both_views(chain[0].features(states[0], *both_views(inputs, modality)))
    return chain[-1].normalise(later_features(chain, states, vectors, modality))


def both_views(
    images: UInt8[Array, "n height width 3"], modality: Int[Array, "n"]
) -> tuple[Float[Array, "2*n height width 3"], Int[Array, "2*n"]]:
    """Returns normalised images followed by their mirror images, and the modality of each."""
    x = augment.normalise(images)
    return jnp.concatenate([x, jnp.flip(x, 2)]), jnp.concatenate([modality, modality])


def of_both_views(vectors: Float[Array, "both dim"]) -> Float[Array, "n dim"]:
    """Adds the features of images and those of their mirror images."""
    return vectors.reshape(2, -1, vectors.shape[1]).sum(axis=0)


def later_features(
    chain: Chain, states: States, vectors: Float[Array, "n first"], modality: Int[Array, "n"]
) -> Float[Array, "n dim"]:
    """Computes features of the last stage from those of the first one, both before `normalise`."""
    for before, stage, state in zip(chain[:-1], chain[1:], states[1:], strict=True):
        vectors = stage.features(state, before.normalise(vectors), modality)
    return vectors


def swap(
    stage: Stage,
    state: State,
    structure: UInt8[Array, "n height width 3"],
    appearance: UInt8[Array, "n height width 3"],
) -> UInt8[Array, "n height width 3"]:
    """Generates images G(a, s): the persons of some images in the poses and places of others.

    Args:
        stage: a stage that generates images.
        state: its State.
        structure: the images that give s.
        appearance: the images that give a.
    """
    return augment.denormalise(stage.render(state, augment.normalise(structure), augment.normalise(appearance)))


def extractor(chain: Chain, batch_size: int = BATCH) -> Callable:
    """Compiles `features` once, for any number of inputs.

    Args:
        chain: the stages.
        batch_size: inputs at a time over all devices of a process; the last batch is padded to it.

    Returns:
        (states, read, modality, progress="") -> float32 [n, dim]. `read` gives the inputs at some of the places
        0..n-1, and `modality` is int32 [n]; `of_rows` has both for rows of a source. Several processes share the work,
        and all of them get all features. `progress` names the work in the progress bar and in the error; empty for no
        bar. The function raises NotFiniteError, in all processes, if a feature is not finite.
    """
    compiled = parallel.pmap_forward(lambda states, *inputs: features(chain, states, *inputs), arguments=3)

    def extract(
        states: States, read: Callable[[np.ndarray], np.ndarray], modality: Int[np.ndarray, "n"], progress: str = ""
    ) -> Float[np.ndarray, "n dim"]:
        share = processes.share(np.arange(len(modality)))
        states = parallel.replicate(states)
        size = parallel.round_up(min(batch_size, len(share)))
        parts = []
        shown = bool(progress) and processes.is_first()
        for start in tqdm(range(0, len(share), size), desc=progress, disable=not shown, unit="batch", leave=False):
            chosen = share[start : start + size]
            padded = np.resize(chosen, size)  # repeats places
            inputs = parallel.shard(read(padded)), parallel.shard(modality[padded])
            parts.append(np.asarray(compiled(states, *inputs)).reshape(size, -1)[: len(chosen)])
        vectors = processes.united(np.concatenate(parts), len(modality))
        _check_finite(vectors, progress or f"the stage with the networks {', '.join(chain[-1].networks)}")
        return vectors

    return extract


def of_rows(source: Source, rows: Int[np.ndarray, "n"]) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Returns the arguments `read` and `modality` of an `extractor` for some rows of a source."""
    return (lambda places: source.read(rows[places])), source.records.modality[rows]


def _check_finite(vectors: Float[np.ndarray, "n dim"], name: str) -> None:
    broken = np.sum(~np.isfinite(vectors).all(axis=1))
    if broken:
        raise NotFiniteError(
            f"the features of {broken} of {len(vectors)} images, computed by {name}, are not finite; nothing is "
            f"scored. Use an earlier checkpoint, or train the stage again with a lower learning rate."
        )
