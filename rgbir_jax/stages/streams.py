"""Two streams, one per modality: applied in training, and to images of either modality at test time."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.models.two_stream import Stream
from rgbir_jax.training.stage import FeatureMap, Images
from rgbir_jax.training.state import State, infer, variables


def train_streams(
    stream: Stream, params: PyTree, batch_stats: PyTree, x: Float[Array, "identity 2 shot height width 3"]
) -> tuple[Float[Array, "identity 2 shot channels"], PyTree]:
    """Applies each modality's stream as in training, with this batch's statistics.

    Args:
        stream: the module of both streams.
        params: the parameters of `rgb` and `ir`, and of other networks.
        batch_stats: the running statistics of the same networks.
        x: images.

    Returns:
        Pooled features, and all running statistics with the new ones of the streams.
    """
    pooled, statistics = [], dict(batch_stats)
    for modality, name in enumerate(MODALITIES):
        images = x[:, modality]
        features, updated = stream.apply(
            variables(params, batch_stats, name),
            images.reshape(-1, *images.shape[2:]),
            train=True,
            mutable=["batch_stats"],
        )
        pooled.append(features.reshape(*images.shape[:2], -1))
        statistics[name] = updated["batch_stats"]
    return jnp.stack(pooled, axis=1), statistics


def feature_map_of_streams(stream: Stream, state: State, inputs: Images, modality: Int[Array, "n"]) -> FeatureMap:
    """Returns the last feature map of each image's stream, which runs only if some image is of its modality."""

    def map_by(number: int, name: str) -> Array:
        def run():
            return infer(stream, state.variables(name), inputs, "feature_map")

        blank = jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), jax.eval_shape(run))
        return jax.lax.cond(jnp.any(modality == number), run, lambda: blank)

    rgb, ir = (map_by(number, name) for number, name in enumerate(MODALITIES))
    return jnp.where(modality[:, None, None, None] == 0, rgb, ir)
