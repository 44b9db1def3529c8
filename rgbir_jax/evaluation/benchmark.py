"""The images that a run is scored on, and the searches of its protocol."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from rgbir_jax.data.source import Source
from rgbir_jax.datasets import find_dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.datasets.search import Search
from rgbir_jax.errors import NoSearchError
from rgbir_jax.evaluation.evaluate import evaluate
from rgbir_jax.evaluation.searches import searches_of
from rgbir_jax.inference.features import extractor, of_rows
from rgbir_jax.training import processes
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State


@dataclass(frozen=True)
class Benchmark:
    """Images and the searches among them.

    Attributes:
        rows: the images' rows in the source's records.
        records: the table of these rows.
        searches: the searches; they name rows of this table.
    """

    rows: Int[np.ndarray, "n"]
    records: Records
    searches: list[Search]

    @classmethod
    def of(cls, config: ConfigDict, records: Records, part: str = "test") -> "Benchmark":
        """Takes a part of a dataset and the protocol of a config.

        Args:
            config: `dataset`, `data_dir`, `protocol` and `rand_perm` (empty: the file in `data_dir`).
            records: the dataset's table.
            part: "test", or "val" to choose between checkpoints.

        Raises:
            UserError: for an unknown protocol, or a file that the protocol needs and cannot use.
            NoSearchError: for images that leave no search to score.
        """
        dataset = find_dataset(config.dataset)
        rows = dataset.rows(records, part)
        images = records.select(rows)
        searches = searches_of(dataset, images, config.protocol, Path(config.rand_perm or config.data_dir))
        return cls(rows, images, searches)


def validation(config: ConfigDict, records: Records) -> Benchmark | None:
    """Takes the validation identities. If no search can be scored on them, a line says so.

    Args:
        config: the recipe; `train_split` says who trains.
        records: the dataset's table.

    Returns:
        Their benchmark; None if there is nobody to validate on.

    Raises:
        UserError: for an unknown protocol, or a file that the protocol needs and cannot use.
    """
    dataset = find_dataset(config.dataset)
    rows = dataset.rows(records, "val")
    if not len(rows) or len(np.intersect1d(rows, dataset.training_rows(records, config.train_split))):
        return None
    try:
        return Benchmark.of(config, records, "val")
    except NoSearchError as error:
        processes.say(f"Nothing is validated, so the last checkpoint of each stage is scored: {error}")
        return None


def validator(benchmark: Benchmark | None, source: Source, stage: Stage) -> Callable[[State], dict[str, float]] | None:
    """Makes a function that scores a State on validation identities.

    Args:
        benchmark: what `validation` gives.
        source: what the stage reads.
        stage: the stage to score.

    Returns:
        State -> `val/rank1` and `val/mAP` of the protocol's first search; None if nobody is left to validate on.
    """
    if benchmark is None:
        return None
    first = benchmark.searches[0]
    extract = extractor((stage,))

    def validate(state: State) -> dict[str, float]:
        features = extract((state,), *of_rows(source, benchmark.rows))
        scores = evaluate(features, benchmark.records, [first])[first.name]
        return {"val/rank1": scores["cmc"][0], "val/mAP": scores["mAP"]}

    return validate
