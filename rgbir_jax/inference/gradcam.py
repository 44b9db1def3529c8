"""Activation maps of image pairs: where the evidence lies that two images show the same person (Grad-CAM).

Of each image of a pair, channel k of the first stage's feature map A is weighted by the mean over positions of
dy/dA_k, y being the cosine similarity of the pair's retrieval features. The map is relu(sum_k w_k A_k). See Selvaraju
et al. 2017.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Float32, Int, UInt8

from rgbir_jax.errors import NotFiniteError
from rgbir_jax.inference.features import Chain, States, both_views, later_features, of_both_views

PAIRS = 32  # pairs at a time

# Of each pair, first what belongs to the query, then what belongs to the gallery image.
Images = tuple[UInt8[Array, "n height width 3"], UInt8[Array, "n height width 3"]]
Modalities = tuple[Int[Array, "n"], Int[Array, "n"]]
FeatureMap = Float[Array, "both h w channels"]  # of n images and, after them, of their mirror images


class PairMaps(NamedTuple):
    """Activation maps of n pairs, in 0..1. The maximum of each map is 1; without positive evidence it is all zero.

    Attributes:
        query: maps of the first image of each pair.
        gallery: maps of the second.
    """

    query: Float32[np.ndarray, "n height width"]
    gallery: Float32[np.ndarray, "n height width"]


def similarity(
    chain: Chain, states: States, feature_maps: tuple[FeatureMap, FeatureMap], modality: Modalities
) -> Float[Array, "n"]:
    """Computes the cosine similarity of pairs from the feature maps of both images and of their mirror images.

    Its gradient holds the lengths of the features constant. The full gradient is zero for two equal images, because
    their similarity cannot rise: it shows what would make a pair more similar, not what makes it similar.

    Args:
        chain: the stages, of which the first gives feature maps.
        states: their States.
        feature_maps: the feature maps of either side.
        modality: 0 RGB, 1 IR.
    """

    def unit_vectors(feature_map, modality):
        both = chain[0].features_of_map(states[0], feature_map, jnp.concatenate([modality, modality]))
        vectors = later_features(chain, states, of_both_views(both), modality)
        return vectors * stop_gradient(chain[-1].normalise(vectors) / jnp.where(vectors == 0, 1, vectors))

    query, gallery = map(unit_vectors, feature_maps, modality)
    return jnp.sum(query * gallery, axis=1)


def pair_maps(
    chain: Chain, states: States, images: Images, modality: Modalities
) -> tuple[Float[Array, "n height width"], Float[Array, "n height width"]]:
    """Computes the maps of `PairMaps`; the arguments are those of `similarity`, and uint8 images."""
    feature_maps = [chain[0].feature_map(states[0], *both_views(*side)) for side in zip(images, modality, strict=True)]
    gradients = jax.grad(lambda maps: jnp.sum(similarity(chain, states, maps, modality)))(tuple(feature_maps))
    height, width = images[0].shape[1:3]
    query, gallery = (_activation(*side, height, width) for side in zip(feature_maps, gradients, strict=True))
    return query, gallery


def explainer(chain: Chain) -> Callable:
    """Compiles `pair_maps` once, for any number of pairs.

    Args:
        chain: the stages; the first has a feature map.

    Returns:
        (states, images, modality) -> PairMaps, with two NumPy arrays each for images and modality. It raises
        NotFiniteError if a map is not finite.
    """
    compiled = jax.jit(lambda *arguments: pair_maps(chain, *arguments))

    def explain(states: States, images: tuple[np.ndarray, ...], modality: tuple[np.ndarray, ...]) -> PairMaps:
        n, states = len(images[0]), jax.device_put(states)
        parts = []
        for start in range(0, n, PAIRS):
            rows = np.resize(np.arange(start, min(start + PAIRS, n)), min(PAIRS, n))  # repeats pairs
            sides = (tuple(array[rows] for array in arrays) for arrays in (images, modality))
            parts.append(jax.device_get(compiled(states, *sides)))
        maps = PairMaps(*(np.concatenate(side)[:n] for side in zip(*parts, strict=True)))
        if not all(np.isfinite(side).all() for side in maps):
            raise NotFiniteError(
                f"activation maps of {n} pairs, computed by the stage with the networks "
                f"{', '.join(chain[-1].networks)}, are not finite. Use an earlier checkpoint, or train the stage again "
                f"with a lower learning rate."
            )
        return maps

    return explain


def _activation(
    feature_map: FeatureMap, gradient: FeatureMap, height: int, width: int
) -> Float[Array, "n height width"]:
    """Weights the channels of images and of their mirror images, turns the latter back, adds both and scales the sum.

    Args:
        feature_map: A.
        gradient: dy/dA.
        height: the height of the images.
        width: their width.
    """
    weighted = jnp.einsum("nhwk,nk->nhw", feature_map, jnp.mean(gradient, axis=(1, 2)))
    images, mirrored = jnp.split(_enlarged(weighted, height, width), 2)
    positive = jax.nn.relu(images + mirrored[:, :, ::-1])
    maximum = jnp.maximum(jnp.max(positive, axis=(1, 2), keepdims=True), jnp.finfo(jnp.float32).tiny)
    return jnp.minimum(positive / maximum, 1)


def _enlarged(maps: Float[Array, "n h w"], height: int, width: int) -> Float[Array, "n height width"]:
    """Interpolates linearly between the positions of maps, which lie in the image as `Stage.feature_map` says."""
    axes = [
        jnp.arange(pixels) * (cells / pixels) for pixels, cells in zip((height, width), maps.shape[1:], strict=True)
    ]
    places = jnp.meshgrid(*axes, indexing="ij")
    return jax.vmap(lambda one: map_coordinates(one, places, order=1, mode="nearest"))(maps)
