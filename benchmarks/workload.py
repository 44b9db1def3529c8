"""The stages of the full-size recipes with random weights and batches, narrower or smaller where that is asked for."""

import time

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import limit
from configs import sysu_embedding, sysu_image, sysu_two_stream
from rgbir_jax import stages
from rgbir_jax.training import parallel
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

CLASSES = 395  # SYSU-MM01's training identities
RECIPES = {
    "image": sysu_image,
    "teacher": sysu_image,
    "two_stream": sysu_two_stream,
    "embedding": sysu_embedding,
}
_WIDTHS = {"width", "code", "mlp", "bottleneck", "hidden"}  # the fields of networks that say how wide they are


def recipe(stage: str, preset: str | None, dtype: str, size: tuple[int, int], width_divisor: int) -> ConfigDict:
    """The full-size recipe that a stage is in.

    Args:
        stage: one of `RECIPES`.
        preset: of the recipe; None for its default.
        dtype: of the convolutions.
        size: of the images, (height, width).
        width_divisor: of the widths of all networks.

    Raises:
        ValueError: for a preset that the recipe has not.
    """
    config = RECIPES[stage].get_config(*[preset] if preset else [])
    config.dtype, config.image_size = dtype, tuple(size)
    for name in config.recipe:
        _narrow(config[name].networks, width_divisor)
    return config


def _narrow(networks: ConfigDict, divisor: int) -> None:
    for name, value in networks.items():
        if isinstance(value, ConfigDict):
            _narrow(value, divisor)
        elif name in _WIDTHS:
            widths = tuple(width // divisor for width in np.atleast_1d(value).tolist())
            networks[name] = widths if isinstance(value, tuple) else widths[0]


def initialised(config: ConfigDict, name: str) -> tuple[Stage, dict[str, State]]:
    """(the stage, random States on the host by name, of the stage and of those that it needs)."""
    stage = stages.build(config, name, CLASSES)
    states = {}
    for earlier in stage.needs:
        states |= initialised(config, earlier)[1]
    states[name] = jax.device_get(jax.jit(stage.init)(jax.random.key(0), states))
    return stage, states


def random_batch(config: ConfigDict, stage: Stage) -> dict[str, np.ndarray]:
    """Of images, or of unit embeddings where the stage reads those."""
    generator = np.random.default_rng(0)
    shape = (config.batch.identities, len(config.modalities), config.batch.shots)
    if stage.reads:
        drawn = generator.normal(size=(*shape, config[stage.reads].networks.head.bottleneck)).astype(np.float32)
        inputs = {"embedding": drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)}
    else:
        inputs = {"image": generator.integers(0, 256, (*shape, *config.image_size, 3), np.uint8)}
    return inputs | {
        "label": generator.permutation(CLASSES)[: config.batch.identities].astype(np.int32),
        "camera": np.ones(shape, np.int32),
    }


class Iteration:
    """The compiled step with its donated state and a batch that stays on the devices."""

    def __init__(self, stage: Stage, state: State, batch: dict[str, np.ndarray]):
        self.stage, self.on_host = stage, (state, batch)
        self.step = parallel.pmap(stage.train_step)
        self.state, self.batch, self.key = parallel.replicate(state), parallel.shard(batch), jax.random.key(1)

    def round(self, steps: int) -> float:
        """Seconds of some iterations; waits once, at the end."""
        start = time.perf_counter()
        for _ in range(steps):
            self.state, metrics = self.step(self.state, self.batch, self.key)
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - start

    def flops(self) -> float:
        """Operations of one iteration on all devices."""
        return limit.step_cost(self.stage, *self.on_host)["flops"]

    def bytes_accessed(self) -> float:
        """XLA's count for the program of one of these devices, which is usually too high: see `limit.step_cost`."""
        return limit.cost(self.step.lower(self.state, self.batch, self.key).compile())["bytes accessed"]

    def peak_memory(self) -> int | None:
        """Bytes on the first device; None where the backend does not tell."""
        told = jax.local_devices()[0].memory_stats()
        return told and told.get("peak_bytes_in_use")
