"""Figures of single probes: the content of per_probe.npz, by which systems and runs are compared probe by probe."""

import hashlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from rgbir_jax.datasets.records import Records
from rgbir_jax.datasets.search import AP, Search
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.bootstrap import Interval, interval
from rgbir_jax.evaluation.evaluate import probes_of
from rgbir_jax.evaluation.metrics import Ranks
from rgbir_jax.files import writing

FILE = "per_probe.npz"
MEASURES = {"rank1": "rank-1", "AP": "mAP"}  # names of the means by that of a probe's figure


@dataclass(frozen=True)
class PerProbe:
    """Figures of the probes of every search, averaged over the trials.

    Attributes:
        person_id: the person on each probe, by the search.
        images: a checksum of the images that are probes and galleries, by the search.
        figures: by (search, system, measure) one figure per probe, in 0..1; NaN for a probe that has no match.
    """

    person_id: dict[str, Int[np.ndarray, "_"]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    figures: dict[tuple[str, str, str], Float[np.ndarray, "_"]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, records: Records, searches: Sequence[Search], systems: Mapping[str, Mapping[str, Sequence[Ranks]]]
    ) -> "PerProbe":
        """Collects the figures.

        Args:
            records: the table of which the searches name rows.
            searches: the searches.
            systems: by the system's name what `evaluate.ranked` gives.
        """
        person_id = {search.name: records.person_id[probes_of(records, search)] for search in searches}
        images = {search.name: _checksum(records, search) for search in searches}
        figures = {
            (search.name, system, measure): values
            for system, trials in systems.items()
            for search in searches
            for measure, values in averaged(trials[search.name], search.ap).items()
        }
        return cls(person_id, images, figures)

    def write(self, path: Path, way_out: str) -> None:
        """Writes the figures as float32.

        Raises:
            UserError: if the file cannot be written.
        """
        arrays: dict[str, np.ndarray] = {f"person_id/{search}": ids for search, ids in self.person_id.items()}
        arrays |= {f"images/{search}": np.array(checksum) for search, checksum in self.images.items()}
        arrays |= {f"figures/{'/'.join(names)}": values.astype(np.float32) for names, values in self.figures.items()}
        with writing(path, way_out), path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def read(cls, path: Path) -> "PerProbe":
        """Reads the file.

        Raises:
            UserError: if it is missing or damaged.
        """
        score = f"eval.py --workdir {path.parent}"
        if not path.is_file():
            raise UserError(f"{path} is missing; {score} writes it.")
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {tuple(name.split("/")): file[name] for name in file}
            by_kind: dict[str, dict] = {"person_id": {}, "images": {}, "figures": {}}
            for (kind, *names), values in arrays.items():
                by_kind[kind][tuple(names) if kind == "figures" else names[0]] = values
            if any(
                values.shape != by_kind["person_id"][search].shape
                for (search, *_), values in by_kind["figures"].items()
            ):
                raise ValueError("the columns do not fit each other")
        except (OSError, ValueError, TypeError, KeyError, IndexError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{path} is damaged; {score} writes it again.") from error
        images = {search: str(checksum) for search, checksum in by_kind["images"].items()}
        return cls(by_kind["person_id"], images, by_kind["figures"])

    def ahead(self, other: "PerProbe", search: str, measure: str, system: str, of: str) -> Interval:
        """Returns by how much a system is ahead of another one, as a paired bootstrap over persons.

        Args:
            other: the figures of the other system, of the same probes.
            search: the search's name.
            measure: a key of `MEASURES`.
            system: the system's name.
            of: the other system's name in `other`.
        """
        difference = self.figures[search, system, measure] - other.figures[search, of, measure]
        return interval(difference, self.person_id[search])


def averaged(trials: Sequence[Ranks], ap: AP) -> dict[str, Float[np.ndarray, "n"]]:
    """Averages each probe's figures, by the keys of `MEASURES`, over the trials that count it; NaN if none does.

    Args:
        trials: ranks of the same probes in the gallery of each trial.
        ap: the form of average precision.
    """
    counted = np.array([trial.counted for trial in trials])
    precision = [trial.trapezoid if ap == "trapezoid" else trial.average_precision for trial in trials]
    figures = {"rank1": [trial.first == 0 for trial in trials], "AP": precision}
    times = counted.sum(axis=0)
    return {
        name: np.divide(
            np.where(counted, values, 0).sum(axis=0), times, out=np.full(len(times), np.nan), where=times > 0
        )
        for name, values in figures.items()
    }


def _checksum(records: Records, search: Search) -> str:
    """Returns hexadecimal digits that differ for other probes or galleries."""
    digest = hashlib.sha256()
    for rows in (search.probes, *search.galleries):
        digest.update("\n".join(np.sort(records.path[rows]).tolist()).encode() + b"\n\n")
    return digest.hexdigest()[:16]
