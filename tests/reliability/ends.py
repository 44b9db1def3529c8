"""How a run has ended: the last and the best State of every stage, and whether two runs have the same."""

from pathlib import Path

import jax
import numpy as np

from rgbir_jax import stages
from rgbir_jax.origin import Facts, read_config
from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.state import path_name


def end_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Returns the iteration and the bits of every leaf of the last and the best State, by stage, kind and path."""
    config, people, states, leaves = read_config(folder), Facts.read(folder).people, {}, {}
    for name in config.recipe:
        shapes = jax.eval_shape(stages.build(config, name, len(people)).init, jax.random.key(0), dict(states))
        checkpoints = Checkpoints(folder / name / "checkpoints")
        for kind, step in (("last", checkpoints.latest()), ("best", checkpoints.best())):
            assert step is not None
            states[name] = checkpoints.restore(step, shapes)
            for path, leaf in jax.tree_util.tree_leaves_with_path(states[name]):
                leaves[f"{name}, {kind}: {path_name(path)}"] = step, np.asarray(leaf).tobytes()
    return leaves


def differences(one: dict[str, tuple[int, bytes]], other: dict[str, tuple[int, bytes]]) -> list[str]:
    """Names the leaves in which two ends differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
