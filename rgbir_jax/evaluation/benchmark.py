"""A dataset's own test: which images are compared, by which protocol."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from rgbir_jax.data import sysu_lists
from rgbir_jax.data.embedded import EmbeddedSource
from rgbir_jax.data.layouts import IR, RGB
from rgbir_jax.data.source import Source
from rgbir_jax.evaluation import protocols
from rgbir_jax.evaluation.features import extractor
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State


class Benchmark:
    """Scores features of a split under the protocol that the config names.

    Args:
        config: `dataset`, `data_dir`, `protocol`, `rand_perm` (empty: rand_perm_cam.mat in data_dir or its exp).
        source: of that dataset.
        split: "test", or "val" for choosing between checkpoints. Market-1501 has its queries and gallery for "test".

    Attributes:
        rows: of the images to compare, in the source's records.
        records: the table of these rows.
        protocol: its name.

    Raises:
        FileNotFoundError, ValueError: for an absent permutation file where the protocol needs one.
    """

    def __init__(self, config: ConfigDict, source: Source | EmbeddedSource, split: str = "test"):
        self._market = config.dataset == "market1501"
        splits = ("query", "gallery") if self._market else (split,)
        self.rows = np.flatnonzero(np.isin(source.records.split, splits))
        self.records = source.records.select(self.rows)
        self.protocol = "single_query" if self._market else config.protocol
        self._permutations = None
        if not self._market and config.protocol != "agw":
            self._permutations = sysu_lists.read_permutations(config.rand_perm or _permutation_file(config.data_dir))

    def score(self, features: Float[np.ndarray, "n d"], **chosen) -> dict[str, dict]:
        """Scores by setting.

        Args:
            features: of `rows`, in their order.
            chosen: `settings`, names in `protocols.SETTINGS`.
        """
        table = self.records
        if self._market:
            return protocols.evaluate_market(features, table.person_id, table.camera, table.split)
        return protocols.evaluate(
            features,
            table.person_id,
            table.camera,
            table.index,
            protocol=self.protocol,
            permutations=self._permutations,
            **chosen,
        )

    def search(self) -> tuple[Int[np.ndarray, "p"], Int[np.ndarray, "g"], Callable]:
        """(probes, gallery, hidden): places in `rows`, and (probes, gallery) -> bool of what a probe does not see."""
        table = self.records
        if self._market:
            probes, gallery = np.flatnonzero(table.split == "query"), np.flatnonzero(table.split == "gallery")
            return (
                probes,
                gallery,
                lambda p, g: (
                    (table.person_id[p][:, None] == table.person_id[g]) & (table.camera[p][:, None] == table.camera[g])
                ),
            )
        probes, gallery = np.flatnonzero(table.modality == IR), np.flatnonzero(table.modality == RGB)
        return probes, gallery, lambda p, g: (table.camera[p] == 3)[:, None] & (table.camera[g] == 2)

    def chance(self) -> dict[str, dict]:
        """Scores a ranking that knows nothing: the mean over five draws of random unit vectors as features."""

        def mean(*drawn):
            """Averages one figure over the draws; a text, such as the form of AP, is the same in all of them."""
            return drawn[0] if isinstance(drawn[0], str) else type(drawn[0])(np.mean(drawn))

        draws = np.random.default_rng(0).normal(size=(5, len(self.rows), 32))
        draws /= np.linalg.norm(draws, axis=2, keepdims=True)
        scores = [self.score(features) for features in draws]
        averages = jax.tree.map(mean, *scores)
        return {setting: averages[setting] for setting in scores[0]}  # jax.tree.map sorts the names


def validator(
    config: ConfigDict, source: Source | EmbeddedSource, stage: Stage
) -> Callable[[State], dict[str, float]] | None:
    """Scores a State on the validation identities, where there are some that are not trained on.

    Args:
        config: with `train_split` "train".
        source: of the dataset, what the stage reads.
        stage: whose features are scored.

    Returns:
        State -> `val/rank1` and `val/mAP` (all-search, single-shot); None where there is nothing to validate on.
    """
    if config.train_split != "train" or not np.any(source.records.split == "val"):
        return None
    benchmark = Benchmark(config, source, "val")
    extract = extractor(stage)

    def validate(state: State) -> dict[str, float]:
        scores = benchmark.score(extract(state, source, benchmark.rows), settings=("all_single",))["all_single"]
        return {"val/rank1": scores["cmc"][0], "val/mAP": scores["mAP"]}

    return validate


def _permutation_file(data_dir: str) -> Path:
    """Releases differ in where they have it."""
    path = Path(data_dir) / "rand_perm_cam.mat"
    return path if path.is_file() else Path(data_dir) / "exp" / "rand_perm_cam.mat"
