"""Scores a finished run: every stage of its recipe, and what it is to be compared with."""

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from PIL import Image

from rgbir_jax import recipe
from rgbir_jax.data.embedded import EmbeddedSource
from rgbir_jax.data.source import Source, open_source
from rgbir_jax.evaluation.benchmark import Benchmark
from rgbir_jax.evaluation.features import extractor
from rgbir_jax.evaluation.reconstruction import reconstruction
from rgbir_jax.evaluation.scores import SETTING_NAMES, systems, table
from rgbir_jax.training import compilation
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State, initialise

RAW_PIXELS = (32, 16)  # height and width that images are shrunk to for the comparison of bare pixels


class Scored(NamedTuple):
    """A run with its scores and what they were computed from.

    Attributes:
        config: that the run was trained with.
        source: its dataset.
        stages: every stage with the State it is scored by, in the recipe's order.
        benchmark: the rows that were scored and the protocol.
        features: of the last stage, for the benchmark's rows.
        scores: content of scores.json.
    """

    config: ConfigDict
    source: Source
    stages: dict[str, tuple[Stage, State]]
    benchmark: Benchmark
    features: Float[np.ndarray, "n d"]
    scores: dict


def score(workdir: str, changes: dict | None = None) -> Scored:
    """Scores a run on its dataset's test identities and writes `scores.json` into its folder.

    Args:
        workdir: of train.py.
        changes: values of the config to replace: `data_dir`, `protocol`, `rand_perm`, ...

    Returns:
        The scores and what a report needs.

    Raises:
        FileNotFoundError, ValueError: where the run or its data is not there or not whole.
    """
    compilation.prepare()
    config = recipe.read_config(workdir)
    config.update(changes or {})
    source = open_source(config)
    benchmark = Benchmark(config, source)
    loaded = recipe.load(config, workdir, recipe.training_sampler(config, source).classes)

    features = {"raw_pixels": raw_pixels(source, benchmark.rows)}
    *earlier, last = loaded
    stage, state = loaded[last]

    def inputs_of(name: str) -> Source | EmbeddedSource:
        return recipe.read_by(loaded[name][0], loaded, source, config, workdir)

    def extract(name: str, state: State, shown: str) -> np.ndarray:
        return extractor(loaded[name][0])(state, inputs_of(name), benchmark.rows, progress=shown)

    features["untrained"] = extract(last, _untrained(stage, state), "untrained")
    features |= {name: extract(name, loaded[name][1], name) for name in earlier}
    features["trained"] = extract(last, state, last)
    for control, other in stage.controls.items():
        features[control] = extractor(dataclasses.replace(stage, features=other))(
            state, inputs_of(last), benchmark.rows
        )

    scores = {
        "protocol": benchmark.protocol,
        "dataset": dataset_name(config),
        "steps": int(state.step),
        "controls": list(stage.controls),
    }
    scores["chance"] = benchmark.chance()
    scores |= {system: benchmark.score(found) for system, found in features.items()}
    if stage.render:
        scores["reconstruction"] = reconstruction(stage, state, source, benchmark.rows)._asdict()
    (Path(workdir) / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    return Scored(config, source, loaded, benchmark, features["trained"], scores)


def raw_pixels(source: Source, rows: np.ndarray) -> Float[np.ndarray, "n d"]:
    """The images themselves as features, shrunk to `RAW_PIXELS`, in 0..1."""
    height, width = RAW_PIXELS
    return np.stack(
        [
            np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
            for image in source.images(rows)
        ]
    ).reshape(len(rows), -1) / np.float32(255)


def dataset_name(config: ConfigDict) -> str:
    """The dataset as tables name it; drawn data is never passed off as the real thing."""
    drawn = (Path(config.data_dir) / "factors.csv").is_file()
    return f"{config.dataset} (drawn)" if drawn else config.dataset


def _untrained(stage: Stage, state: State) -> State:
    """The same networks with fresh parameters."""
    params, batch_stats = initialise(jax.random.key(0, impl="rbg"), stage.networks)
    return dataclasses.replace(state, step=jnp.int32(0), params=params, batch_stats=batch_stats)


def tables(scores: dict) -> str:
    """Formats all settings as text, one row per system, and how well images are reconstructed."""
    scored = systems(scores)
    settings = next(iter(scored.values()))
    parts = [
        table(
            {name: found[setting] for name, found in scored.items()},
            scores["protocol"],
            f"{scores['dataset']}, {setting}",
        )
        for setting in settings
    ]
    if differences := comparison(scores):
        parts.append(differences)
    if "reconstruction" in scores:
        parts.append("Reconstruction of test images, L1: {l1:.3f}; of their mean image: {mean_image:.3f}".format(
            **scores["reconstruction"]
        ))  # fmt: skip
    return "\n\n".join(parts)


def comparison(scores: dict) -> str:
    """Says in one sentence whether the trained stage is ahead of its teacher and of the control, in the first setting.

    Empty if the run has neither.
    """
    scored = systems(scores)
    setting = next(iter(scored["trained"]))

    def figures(system: str) -> np.ndarray:
        return 100 * np.array([scored[system][setting]["cmc"][0], scored[system][setting]["mAP"]])

    def versus(system: str) -> str:
        rank1, mAP = gains = np.round(figures("trained") - figures(system), 2)
        verdict = "ahead of" if all(gains > 0) else "behind" if all(gains < 0) else "neither ahead of nor behind"
        return f"{verdict} the {system} (rank-1 {rank1:+.2f} points, mAP {mAP:+.2f})"

    others = [versus(system) for system in ("teacher", "control") if system in scored]
    if not others:
        return ""
    where = SETTING_NAMES[setting]
    return f"In {where}, the trained stage is {' and '.join(others)}. One run decides little: seeds differ by points."
