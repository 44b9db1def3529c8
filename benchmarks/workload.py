"""Makes stages of the full-size recipes with random weights and batches, at smaller sizes on request."""

import time

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import limit
from configs import (
    sysu_agw,
    sysu_caj,
    sysu_cmgan,
    sysu_cmpig,
    sysu_deen,
    sysu_embedding,
    sysu_hicmd,
    sysu_image,
    sysu_rle,
    sysu_sdl,
    sysu_two_stream,
    sysu_zero_padding,
)
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
    "one_stream": sysu_zero_padding,
    "sdl": sysu_sdl,
    "generation": sysu_cmpig,
    "cmpig": sysu_cmpig,
    "cmgan": sysu_cmgan,
    "agw": sysu_agw,
    "caj": sysu_caj,
    "rle": sysu_rle,
    "deen": sysu_deen,
    "hicmd": sysu_hicmd,
}
_WIDTHS = {"width", "code", "mlp", "bottleneck", "hidden", "triplet"}  # the keys of a network's config that set a width


def recipe(stage: str, preset: str | None, dtype: str, size: tuple[int, int] | None, width_divisor: int) -> ConfigDict:
    """Returns the full-size recipe that contains a stage.

    Args:
        stage: the stage's name, one of `RECIPES`.
        preset: the recipe's preset; None for its default.
        dtype: the dtype of the convolutions.
        size: (height, width) of the images in pixels; None for the recipe's own.
        width_divisor: the number by which the widths of all networks are divided.

    Raises:
        ValueError: for a preset that the recipe does not have.
    """
    config = RECIPES[stage].get_config(*[preset] if preset else [])
    config.dtype, config.image_size = dtype, tuple(size or config.image_size)
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
    """Builds a stage; returns it with random States on the host, by name, of the stage and those that it needs."""
    stage = stages.build(config, name, CLASSES)
    states = {}
    for earlier in stage.needs:
        states |= initialised(config, earlier)[1]
    states[name] = jax.device_get(jax.jit(stage.init)(jax.random.key(0), states))
    return stage, states


def random_batch(stage: Stage) -> dict[str, np.ndarray]:
    """Draws a global batch of a stage: different identities, and noise as images or as unit vectors."""
    generator = np.random.default_rng(0)

    def unit_vectors(shape):
        vectors = generator.normal(size=shape)
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    draw = {
        "image": lambda shape: generator.integers(0, 256, shape),
        "embedding": unit_vectors,
        "label": lambda shape: generator.permutation(CLASSES)[: shape[0]],
        "camera": np.ones,
    }
    return {name: draw[name](shape).astype(dtype) for name, (shape, dtype) in stage.batch_spec().items()}


class Iteration:
    """A compiled training step, its state, which every call replaces, and a batch that stays on the devices."""

    def __init__(self, stage: Stage, state: State, batch: dict[str, np.ndarray]):
        self.stage, self.on_host = stage, (state, batch)
        self.step = parallel.pmap(stage.train_step)
        self.state, self.batch, self.key = parallel.replicate(state), parallel.shard(batch), jax.random.key(1)

    def round(self, steps: int) -> float:
        """Runs some iterations, waits once at the end, and returns the seconds that they took."""
        start = time.perf_counter()
        for _ in range(steps):
            self.state, metrics = self.step(self.state, self.batch, self.key)
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - start

    def flops(self) -> float:
        """Counts the operations of one iteration on all devices."""
        return limit.step_cost(self.stage, *self.on_host)["flops"]

    def bytes_accessed(self) -> float:
        """Returns XLA's count for the program of one device, which is usually too high: see `limit.step_cost`."""
        return limit.cost(self.step.lower(self.state, self.batch, self.key).compile())["bytes accessed"]

    def peak_memory(self) -> int | None:
        """Returns the peak of the first device's memory in bytes, or None if the backend does not measure it."""
        statistics = jax.local_devices()[0].memory_stats()
        return statistics and statistics.get("peak_bytes_in_use")
