"""Scores a finished run: every stage of its recipe, and what it is compared with."""

import dataclasses
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

from rgbir_jax.commands.recipe import inputs_of
from rgbir_jax.data.contents import contents_of
from rgbir_jax.data.source import Source
from rgbir_jax.data.sources import ImageSource, fingerprint, open_source
from rgbir_jax.datasets import find_dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import feature_file, per_probe, thresholds
from rgbir_jax.evaluation.benchmark import Benchmark, validation
from rgbir_jax.evaluation.evaluate import chance, ranked, reranked, say_collapsed, summarised
from rgbir_jax.evaluation.per_probe import PerProbe
from rgbir_jax.evaluation.reconstruction import reconstruction
from rgbir_jax.evaluation.reranking import Reranking
from rgbir_jax.evaluation.thresholds import Thresholds
from rgbir_jax.evaluation.verification import with_verification
from rgbir_jax.files import write_json, writing
from rgbir_jax.inference.features import extractor, of_rows
from rgbir_jax.lookup import expand_home, expanded
from rgbir_jax.origin import complete, read_config
from rgbir_jax.run import Run
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State, initialise

OTHER = "other_data"  # in a run's folder: a folder per dataset other than its own that it was scored on
RAW_PIXELS = (32, 16)  # height and width that images are shrunk to for the comparison with bare pixels


class Scored(NamedTuple):
    """A run with its scores and what they were computed from.

    Attributes:
        run: the run.
        source: its dataset.
        benchmark: the rows that were scored, and the searches.
        features: features of the last stage, for the benchmark's rows.
        scores: the content of scores.json.
        probes: the content of per_probe.npz.
        thresholds: the content of thresholds.json; None if there are no validation identities, or for other data.
        folder: where what is written about the scores goes; `write` makes it.
    """

    run: Run
    source: ImageSource
    benchmark: Benchmark
    features: Float[np.ndarray, "n d"]
    scores: dict
    probes: PerProbe
    thresholds: Thresholds | None
    folder: Path


def score(run: Run, changes: dict | None = None) -> Scored:
    """Scores a run on its dataset's test identities and writes what `write` writes.

    It goes into the run's folder, or, if other data is scored, into `OTHER`/NAME-CHECKSUM below.

    Args:
        run: the run.
        changes: values of its config to replace: `data_dir`, `protocol`, `rand_perm`, ...

    Raises:
        UserError: if its data is missing or incomplete, or if a file cannot be written.
        NotFiniteError: for features that are not finite.
    """
    scored = compute(run, changes)
    write(scored)
    return scored


def write(scored: Scored) -> None:
    """Writes `scores.json`, `per_probe.npz` and, if there are thresholds, `thresholds.json`.

    Raises:
        UserError: if one cannot be written.
    """
    if not scored.folder.is_dir():
        with writing(scored.folder, way_out(scored.run)):
            scored.folder.mkdir(parents=True)
    write_json(scored.folder / "scores.json", scored.scores, way_out(scored.run))
    scored.probes.write(scored.folder / per_probe.FILE, way_out(scored.run))
    if scored.thresholds:
        write_json(scored.folder / thresholds.FILE, scored.thresholds.content(), way_out(scored.run))


def way_out(run: Run) -> str:
    """Returns what the user can do if nothing can be written into a run's folder."""
    return f"make room on its disk, or copy {run.folder} to one that you may write to and score the copy."


def compute(run: Run, changes: dict | None = None, reranking: Reranking | None = None) -> Scored:
    """Scores a run as `score` does, and writes no scores.

    Args:
        run: see `score`.
        changes: see `score`.
        reranking: parameters with which the trained stage is also scored after re-ranking; None: it is not.
    """
    with complete(run.folder, run.config, run.facts):
        return _compute(run, changes or {}, reranking)


def _compute(run: Run, changes: dict, reranking: Reranking | None) -> Scored:
    config = run.config
    config.update(changes)
    expand_home(config)
    records = find_dataset(config.dataset).read_with(Path(config.data_dir), config)
    benchmark = Benchmark.of(config, records)  # what it refuses is refused before images are decoded
    source = open_source(config, records)
    folder = folder_of(run, records)
    _say_trained(run, benchmark)
    inputs: dict[str, Source] = {
        name: inputs_of(stage, run.stages, run.states, source, config, folder) for name, stage in run.stages.items()
    }

    def extract(name: str, stage: Stage, state: State, progress: str = "") -> np.ndarray:
        return extractor((stage,))((state,), *of_rows(inputs[name], benchmark.rows), progress=progress)

    stage, state = run.stages[run.last], run.states[run.last]
    features = {"raw_pixels": raw_pixels(source, benchmark.rows)}
    features["untrained"] = extract(run.last, stage, _untrained(stage, state), "untrained")
    for name, earlier in run.stages.items():
        shown = "trained" if name == run.last else name
        features[shown] = extract(name, earlier, run.states[name], name)
        say_collapsed(features[shown], name)
    for control, other in stage.controls.items():
        features[control] = extract(run.last, other, state)

    searches, records = benchmark.searches, benchmark.records
    scores = {
        "protocol": config.protocol,
        "dataset": find_dataset(config.dataset).title_of(Path(config.data_dir), source.records),
        "steps": int(state.step),
        "controls": list(stage.controls),
        "settings": {search.name: search.title for search in searches},
        "chance": chance(records, searches),
    }
    ranks = {system: ranked(found, records, searches) for system, found in features.items()}
    scores |= {
        system: with_verification(summarised(ranks[system], searches), features[system], records, searches)
        for system in features
    }
    if reranking:
        again = reranked(features["trained"], records, searches, reranking, progress=str(reranking))
        scores["reranked"] = reranking.labelled(summarised(again, searches))
    if stage.renders:
        scores["reconstruction"] = reconstruction(stage, state, source, benchmark.rows)._asdict()
    probes = PerProbe.of(records, searches, ranks)
    is_own = folder == run.folder
    found = _thresholds(run, source, inputs[run.last], scores["dataset"]) if is_own else None
    return Scored(run, source, benchmark, features["trained"], scores, probes, found, folder)


def _thresholds(run: Run, source: ImageSource, inputs: Source, dataset: str) -> Thresholds | None:
    """Finds the thresholds of the last stage on the validation identities, if there are any."""
    try:
        benchmark = validation(run.config, source.records)
    except UserError as error:
        print(f"No thresholds are found: {error}", file=sys.stderr)
        return None
    if benchmark is None:
        return None
    stage, state = run.stages[run.last], run.states[run.last]
    features = extractor((stage,))((state,), *of_rows(inputs, benchmark.rows), progress="validation")
    return Thresholds.of(features, benchmark, stage=run.last, steps=int(state.step), dataset=dataset)


def folder_of(run: Run, records: Records) -> Path:
    """Returns where scores go: into the run's folder if the data is its own, even if the tree was moved or copied.

    Other test images in the run's own tree are its own too, if it still has the images that the run was trained on.
    """
    now, place = contents_of(run.config, records), expanded(run.config.data_dir).resolve()
    is_place = place == expanded(read_config(run.folder).data_dir).resolve()
    if run.facts.parts:
        same_tests, same_training = run.facts.parts["test"] == now.parts["test"], not run.facts.difference(now)
    else:  # an older version kept only the fingerprint
        same_tests, same_training = run.facts.fingerprint == fingerprint(run.config.data_dir, records), True
    if same_tests:
        return run.folder
    if is_place and same_training:
        print(f"{place} has other test images than when {run.folder} was started; they are scored.", file=sys.stderr)
        return run.folder
    folder = run.folder / OTHER / f"{place.name}-{now.parts['test'][:8]}"
    print(f"{place} is not the data of {run.folder}: scores and figures go to {folder}.", file=sys.stderr)
    return folder


def _say_trained(run: Run, benchmark: Benchmark) -> None:
    """Prints a line on stderr if people have the names of people who trained: the tree can have changed since."""
    named = find_dataset(run.config.dataset).person_numbers if run.facts.names else None
    tested = named(benchmark.records) if named else map(str, np.unique(benchmark.records.person_id))
    if both := sorted(set(tested) & set(run.people)):
        print(
            f"{len(both):,} tested identities, such as {both[0]}, have the name or number of one that {run.folder} was "
            f"trained on; if they are the same persons, the scores are too good.",
            file=sys.stderr,
        )


def write_features(scored: Scored, path: str) -> None:
    """Writes the features of the test images, and what each image shows, as an .npz file.

    Args:
        scored: a scored run.
        path: the file; `eval.py --features` can read it.
    """
    config, title = scored.run.config, scored.scores["dataset"]
    feature_file.write_features(path, scored.features, scored.benchmark.records, config.dataset, title)


def raw_pixels(source: Source, rows: np.ndarray) -> Float[np.ndarray, "n d"]:
    """Returns the images themselves as features, shrunk to `RAW_PIXELS`, in 0..1."""
    height, width = RAW_PIXELS
    return np.stack(
        [
            np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
            for image in source.read(rows)
        ]
    ).reshape(len(rows), -1) / np.float32(255)


def _untrained(stage: Stage, state: State) -> State:
    """Returns the same networks with fresh parameters."""
    params, batch_stats = initialise(jax.random.key(0, impl="rbg"), stage.networks)
    return dataclasses.replace(state, step=jnp.int32(0), params=params, batch_stats=batch_stats)
