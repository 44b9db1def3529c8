"""Thresholds of distance that say "the same person" at a false positive rate: the content of thresholds.json."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_origin, get_type_hints

import numpy as np
from jaxtyping import Float

from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.benchmark import Benchmark
from rgbir_jax.evaluation.metrics import Images
from rgbir_jax.evaluation.verification import SUPPORT, roc
from rgbir_jax.files import read_json

FILE = "thresholds.json"
RATES = tuple(float(f"{digit}e-{power}") for power in range(6, 0, -1) for digit in (1, 2, 5))


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Thresholds found on people who neither trained nor are tested.

    Attributes:
        stage: the stage whose features are compared.
        steps: its iteration.
        dataset: the dataset's name in tables.
        search: the search whose pairs were used, in words.
        probe: the modalities of the pairs' first images, "rgb", "ir" or both.
        gallery: those of the second images.
        people: number of people.
        same_pairs: number of pairs of one person.
        different_pairs: number of pairs of two persons.
        rates: by FPR as text, such as "0.001", what `Roc.at` gives; only rates that the pairs can support.
    """

    stage: str
    steps: int
    dataset: str
    search: str
    probe: list[str]
    gallery: list[str]
    people: int
    same_pairs: int
    different_pairs: int
    rates: Mapping[str, dict]

    @classmethod
    def of(
        cls, features: Float[np.ndarray, "n d"], benchmark: Benchmark, *, stage: str, steps: int, dataset: str
    ) -> "Thresholds":
        """Finds the thresholds in the pairs of a benchmark's first search.

        Args:
            features: one per image of the benchmark, which has validation identities.
            benchmark: these images and their searches.
            stage: see the attributes.
            steps: see the attributes.
            dataset: see the attributes.
        """
        records, search = benchmark.records, benchmark.searches[0]
        curve = roc(Images(features, records.person_id, records.camera, records.modality), search)
        found = {f"{rate:g}": curve.at(rate) for rate in RATES}

        def modalities(rows: np.ndarray) -> list[str]:
            return [MODALITIES[number] for number in np.unique(records.modality[rows])]

        return cls(
            stage=stage,
            steps=steps,
            dataset=dataset,
            search=search.title,
            probe=modalities(search.probes),
            gallery=modalities(np.concatenate(search.galleries)),
            people=len(np.unique(records.person_id[search.probes])),
            same_pairs=curve.same_pairs,
            different_pairs=curve.different_pairs,
            rates={rate: figures for rate, figures in found.items() if figures["tpr"] is not None},
        )

    @classmethod
    def read(cls, path: Path) -> "Thresholds":
        """Reads the file.

        Raises:
            UserError: if it is damaged.
        """
        kinds = {name: get_origin(kind) or kind for name, kind in get_type_hints(cls).items()}
        try:
            found = cls(**read_json(path))
            fits = all(isinstance(getattr(found, name), kind) for name, kind in kinds.items())
            distances = {float(rate): figures["threshold"] for rate, figures in found.rates.items()} if fits else {}
            fits &= all(distance is None or isinstance(distance, float) for distance in distances.values())
        except (TypeError, ValueError, KeyError) as error:
            raise _damaged(path) from error
        if not fits:
            raise _damaged(path)
        return found

    def content(self) -> dict:
        """Returns what the file holds."""
        return asdict(self)

    def at(self, fpr: float) -> float:
        """Returns the threshold of the largest tabulated rate that is at most `fpr`.

        Raises:
            UserError: if `fpr` is no rate, or one that these pairs cannot support.
        """
        if not 0 < fpr < 1:
            raise UserError(f"a false positive rate is between 0 and 1, such as 0.001; {fpr:g} is none.")
        rates = [rate for rate in map(float, self.rates) if rate <= fpr * (1 + 1e-9)]
        pairs = f"{self.different_pairs:,} pairs of two persons ({self.people} people of {self.dataset})"
        if not rates:
            least = f"; the smallest rate that can be is {min(map(float, self.rates)):g}" if self.rates else ""
            raise UserError(
                f"the threshold for a false positive rate of {fpr:g} cannot be found from {pairs}: it takes {SUPPORT} "
                f"of them that are closer{least}."
            )
        threshold = self.rates[f"{max(rates):g}"]["threshold"]
        if threshold is None:
            raise UserError(
                f"at a false positive rate of {fpr:g} the run recognises nobody: no pair of one person is closer than "
                f"the closest of {pairs}; choose a larger rate."
            )
        return threshold


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged; eval.py --workdir {path.parent} writes it again.")
