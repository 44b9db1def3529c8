"""Features of a whole dataset, computed once and kept in the folder of their stage."""

import hashlib
import os
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float32

from rgbir_jax.data.embedded import EmbeddedSource
from rgbir_jax.data.sources import ImageSource
from rgbir_jax.inference.features import extractor, of_rows
from rgbir_jax.training import processes
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State


def embed(stage: Stage, state: State, source: ImageSource, data: str, path: Path) -> EmbeddedSource:
    """Returns the dataset with a stage's features instead of its images.

    Args:
        stage: the stage whose features are wanted.
        state: the State that computes them.
        source: the images.
        data: the fingerprint of the images, `data.sources.fingerprint`.
        path: the .npz file that keeps the features. It is read if its fingerprint is that of this state and these
            images and if its features are finite; otherwise it is written again. On a disk that cannot be written, a
            sentence says so.

    Raises:
        NotFiniteError: if the stage's features are not finite; the file is not written.
    """
    fingerprint = _fingerprint(state, source, data)
    kept = _read(path, fingerprint)
    missing = processes.any_of(kept is None)
    if kept is not None and not missing:
        return EmbeddedSource(source.records, kept)
    rows = np.arange(len(source.records))
    vectors = extractor((stage,))((state,), *of_rows(source, rows), progress=f"embeddings of {path.parent.name}")
    if processes.is_first():
        _keep(path, vectors, fingerprint)
    return EmbeddedSource(source.records, vectors)


def _keep(path: Path, vectors: Float32[np.ndarray, "images dim"], fingerprint: str) -> None:
    """Writes the features for the next time. If they cannot be written, they are computed again then."""
    unfinished = path.with_suffix(f".{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(unfinished, vectors=vectors, fingerprint=fingerprint)
        unfinished.replace(path)
    except OSError as error:
        print(f"{path} cannot be written ({error.strerror}): these features are computed again next time.")
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _read(path: Path, fingerprint: str) -> Float32[np.ndarray, "images dim"] | None:
    """Reads the kept features; None if they are of something else or damaged."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file) as kept:  # np.load leaves a damaged file open
            vectors = kept["vectors"] if str(kept["fingerprint"]) == fingerprint else None
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError):
        return None
    return vectors if vectors is not None and np.isfinite(vectors).all() else None


def _fingerprint(state: State, source: ImageSource, data: str) -> str:
    digest = hashlib.sha256(f"{data} {source.image_size}".encode())
    for leaf in jax.tree.leaves(jax.device_get((state.params, state.batch_stats))):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
