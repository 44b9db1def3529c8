"""The searches of a protocol that the images at hand allow."""

import sys
from pathlib import Path

import numpy as np

from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.datasets.search import Search
from rgbir_jax.errors import NoSearchError, UserError

PROBES = 64  # compared with a gallery at a time; usually one of the first has a match


def searches_of(dataset: Dataset, records: Records, protocol: str, galleries: Path | None) -> list[Search]:
    """Makes the searches of a protocol. One that cannot be scored is left out with a line on stderr.

    Args:
        dataset: the dataset of the images.
        records: the test images.
        protocol: one of the dataset's protocols.
        galleries: the dataset's folder, or the file that draws the galleries; None: there is neither.

    Raises:
        UserError: for an unknown protocol, or a file that is missing or unsuitable.
        NoSearchError: if no search can be scored.
    """
    dataset.check_protocol(protocol)
    if galleries is None and protocol in dataset.gallery_files:
        raise UserError(f"the protocol {protocol} needs {dataset.gallery_files[protocol]}.")
    searches = dataset.searches(records, protocol, galleries or Path())
    faults = {search.name: fault for search in searches if (fault := _fault(records, search))}
    if len(faults) == len(searches):
        reasons = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        raise NoSearchError(f"these images of {dataset.title} allow no search of the protocol {protocol} ({reasons}).")
    for name, fault in faults.items():
        print(f"{name} is left out: {fault}.", file=sys.stderr)
    return [search for search in searches if search.name not in faults]


def _fault(records: Records, search: Search) -> str:
    """Says why a search cannot be scored; empty if it can."""
    if not len(search.probes):
        return "it has no probe"
    if not search.galleries or not all(map(len, search.galleries)):
        return "it has no gallery"
    if not all(_has_match(records, search, records.select(rows)) for rows in search.galleries):
        return "no probe has a match among the gallery images that it may see"
    return ""


def _has_match(records: Records, search: Search, gallery: Records) -> bool:
    """Says whether a probe sees an image of its person in a gallery."""
    for start in range(0, len(search.probes), PROBES):
        probes = records.select(search.probes[start : start + PROBES])
        same_person = probes.person_id[:, None] == gallery.person_id
        if np.any(same_person & ~search.hidden(probes, gallery)):
            return True
    return False
