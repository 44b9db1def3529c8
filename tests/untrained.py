"""Runs that nobody trained: random weights and running statistics, without the compilation of an initialisation."""

import dataclasses
import re
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

import rgbir_jax
from rgbir_jax import stages
from rgbir_jax.run import Run
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State, path_name
from tests.stages.test_embedding import tiny_config as tiny_embedding_config
from tests.tiny import TWO_STEM, tiny_config, tiny_two_stem_config, tiny_two_stream_config

CLASSES = 4


def configs() -> dict[str, ConfigDict]:
    """Returns a small recipe of each kind of system."""
    teacher, embedding = tiny_config(), tiny_embedding_config()
    teacher.recipe = ("teacher",)
    two_stream = tiny_two_stream_config()
    embedding.image_size = two_stream.image_size
    embedding.two_stream.networks.stream.update({"width": 4, "blocks": (1, 1, 1, 1)})
    systems = {"teacher": teacher, "image": tiny_config("dgnet"), "two_stream": two_stream, "embedding": embedding}
    return systems | {system: tiny_two_stem_config(system) for system in TWO_STEM}


def random_state(stage: Stage, previous: dict[str, State]) -> State:
    """Draws the weights of a stage: kernels after He, other numbers close to those of an initialisation."""
    generator = np.random.default_rng(0)

    def draw(path, spec):
        name = path_name(path)
        if not name.startswith(("params/", "batch_stats/")):
            return np.zeros(spec.shape, np.float32)
        spread = np.sqrt(2 / np.prod(spec.shape[:-1])) if len(spec.shape) > 1 else 0.05
        # What DEEN's aggregations add is cubic in their input; without statistics of it, it would grow beyond float32.
        base = 1e12 if re.search("aggregation.*var", name) else name.endswith(("scale", "gain", "var"))
        return np.float32(base + spread * generator.normal(size=spec.shape))

    shapes = jax.eval_shape(lambda key: stage.init(key, previous), jax.ShapeDtypeStruct((), jax.random.key(0).dtype))
    return jax.tree_util.tree_map_with_path(draw, shapes).replace(step=np.int32(7))


def untrained(config: ConfigDict) -> Run:
    """Makes the run of a recipe."""
    built, states = {}, {}
    for name in config.recipe:
        built[name] = stages.build(config, name, CLASSES)
        states[name] = random_state(built[name], states)
    facts = rgbir_jax.load("drawn").facts
    facts = dataclasses.replace(facts, image_size=list(config.image_size), people=list(range(CLASSES)))
    return Run(Path("untrained"), config, facts, built, states)
