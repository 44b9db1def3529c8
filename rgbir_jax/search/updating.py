"""Makes the index of a gallery, or brings it up to date: only images that are new or changed are read."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from rgbir_jax.data.given_images import GivenImage, GivenModality, image_paths, listed
from rgbir_jax.errors import UserError
from rgbir_jax.files import locked, writing
from rgbir_jax.inference.image_features import Features
from rgbir_jax.origin import INCLUDED
from rgbir_jax.run import Run
from rgbir_jax.search import approximate, store
from rgbir_jax.search.index import EXACT_UP_TO, Index, open_index
from rgbir_jax.search.store import Info, Vectors
from rgbir_jax.search.table import Changes, Files, Table, changes

KINDS = ("auto", "exact", *approximate.KINDS)
ENDING = ".index"  # of the folder's name: it is next to the gallery if no other is named
SAVED_EVERY = 300.0  # seconds of work that are lost at most if it is stopped
WASTE = 2  # an index is written without the vectors of images that are gone if it has this many times as many vectors
COMPARED = 10_000  # vectors that FAISS need not have: as many are compared one by one
OUTGROWN = 4  # FAISS's lists are trained once more if there are this many times as many vectors


class Updated(NamedTuple):
    """What an update did.

    Attributes:
        index: the index.
        new: the number of images that were added.
        changed: the number of images that were read once more, because their file had changed.
        vanished: the paths of the images that were taken out, because their file is gone.
        skipped: a sentence about each image that could not be read.
    """

    index: Index
    new: int
    changed: int
    vanished: list[str]
    skipped: list[str]


def update(folder: Path, gallery: str, model: Run, modality: GivenModality = None, kind: str | None = None) -> Updated:
    """Makes the index of a gallery, or brings it up to date.

    Args:
        folder: the index's folder; it is made if it is not there.
        gallery: the folder of the images.
        model: the run that computes their features.
        modality: "rgb" or "ir", of all images that are read now; None: guessed for each.
        kind: one of `KINDS`; "auto" is "exact" for up to `EXACT_UP_TO` images and "ivfpq" for more. None: as it is.

    Raises:
        UserError: if the folder holds something else, or the index of another run or gallery; for a gallery that is
            no folder or has no images; if FAISS is needed and not installed, if another program is updating the
            index, or if it cannot be written. Images that were read before are kept.
    """
    if not os.path.isdir(gallery):
        raise UserError(f"there is no folder {gallery}; an index is made of a gallery's folder.")
    store.check_no_other(folder)
    paths = image_paths(gallery)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):  # images need not be read to know it
        raise UserError(f"{folder} cannot be written: permission denied; name another folder for the index.")
    with locked(folder, "updated", wait=False, way_out="wait until it has finished, or name another index."):
        before = _before(folder, Path(gallery), model, kind)
        if _kind(before, len(paths)) != "exact":
            approximate.library()
        files = Files.of(gallery, paths)
        difference = changes(before.table, files)
        skipped: list[str] = []
        index = with_faiss(_compacted(_appended(before, paths, files, difference, model, modality, skipped)))
    present = set(index.table.paths)
    return Updated(
        index,
        sum(files.paths[row] in present for row in difference.new),
        sum(files.paths[row] in present for row in difference.changed),
        [before.table.paths[row] for row in np.flatnonzero(difference.vanished)],
        skipped,
    )


def differences(index: Index, gallery: str, rows: Int64[np.ndarray, "_"] | None = None) -> str:
    """Says how a gallery differs from its index; empty if it does not.

    Args:
        index: the index.
        gallery: the folder of the images.
        rows: the images of the index to look at; None: all, and the folder is searched for others. With 100,000 images
            this takes a second or two.
    """
    if not os.path.isdir(gallery):
        return f"{gallery} is not there: the images of {index.folder} can be found, and cannot be shown."
    if rows is None:
        table, paths = index.table, listed(gallery)[0]
    else:
        table = index.table.rows(rows)
        paths = list(filter(os.path.exists, (os.path.join(gallery, path) for path in table.paths)))
    found = changes(table, Files.of(gallery, paths))
    counts = {"new": len(found.new), "changed": len(found.changed), "gone": int(found.vanished.sum())}
    if not any(counts.values()):
        return ""
    shown = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    return f"{gallery} has other images than {index.folder}, which is searched ({shown}); rgbir-index updates it."


def _before(folder: Path, gallery: Path, model: Run, kind: str | None) -> Index:
    """Opens the index that there is, or returns one without images. A gallery that was moved has its new place.

    Raises:
        UserError: if it is the index of another run or gallery.
    """
    place = store.relative(gallery, folder)
    if not store.is_index(folder):
        size = list(model.facts.image_size)
        name = model.name if model.folder.parent == INCLUDED else str(model.folder.resolve())
        return Index(folder, Info.new(model.fingerprint, name, size, place, kind or "auto"), Table.empty(), Vectors([]))
    index = open_index(folder)
    index.check_run(model.fingerprint)
    if index.gallery.is_dir() and not index.gallery.samefile(gallery):
        raise UserError(f"{folder} is the index of {index.gallery.resolve()}; name a new folder for that of {gallery}.")
    return replace(index, info=replace(index.info, gallery=place, kind=kind or index.info.kind))


def _appended(
    before: Index,
    paths: list[str],
    files: Files,
    difference: Changes,
    model: Run,
    modality: GivenModality,
    skipped: list[str],
) -> Index:
    """Writes the index without what is gone, and with the images that are new or changed, every few minutes.

    Raises:
        UserError: if there is no image left, or if a file cannot be written.
    """
    folder, info = before.folder, before.info
    table = before.table.without(difference.outdated | difference.vanished)
    wanted = np.sort(np.concatenate([difference.new, difference.changed]))
    row_of = {paths[row]: row for row in wanted.tolist()}
    blocks = model.feature_blocks([GivenImage(path, path) for path in row_of], modality, skipped)
    count = len(before.vectors)
    for features in _every(SAVED_EVERY, blocks):
        rows = np.array([row_of[path] for path in features.paths])
        places = np.arange(count, count + len(rows))
        names = [files.paths[row] for row in rows]
        added = Table(names, np.asarray(features.modality, np.int8), places, files.size[rows], files.modified[rows])
        table, count = table.joined(added), count + len(rows)
        info = store.write(folder, info, table, np.asarray(features))
    if not len(table):
        raise UserError(f"none of the {len(paths):,} images can be read; the first: {skipped[0]}")
    if info.written == before.info.written:  # nothing was read
        store.write(folder, info, table)
    return open_index(folder)


def _every(seconds: float, blocks: Iterator[Features]) -> Iterator[Features]:
    """Joins blocks of features until some time has passed."""
    joined, start = [], time.monotonic()
    for block in blocks:
        joined.append(block)
        if time.monotonic() - start > seconds:
            yield Features.joined(joined)
            joined, start = [], time.monotonic()
    if joined:
        yield Features.joined(joined)


def _compacted(index: Index) -> Index:
    """Writes the index without the vectors of images that are gone, if these are many."""
    if len(index.vectors) <= WASTE * len(index.table):
        return index
    vectors = index.vectors[index.table.vector]
    info = replace(index.info, vectors=[], faiss="", searched="exact")
    store.write(index.folder, info, index.table.renumbered(), vectors)
    return open_index(index.folder)


def with_faiss(index: Index) -> Index:
    """Writes what FAISS needs, if the index is large; without it, all images are compared one by one."""
    info, kind, count = index.info, _kind(index, len(index.table)), len(index.vectors)
    if kind == info.searched == "exact":
        return index
    name, trained_on = "", 0
    if kind != "exact":
        fits = kind == info.searched and (kind != "ivfpq" or count <= OUTGROWN * info.trained_on)
        if fits and count - index.faiss.ntotal <= COMPARED:
            return index
        name, trained_on = f"faiss-{info.written + 1}.index", info.trained_on if fits else count
        made = index.faiss if fits else approximate.empty(kind, index.vectors)
        approximate.add(made, index.vectors)
        approximate.write(made, index.folder / name)
    info = replace(info, searched=kind, faiss=name, trained_on=trained_on)
    store.write(index.folder, info, index.table)
    return open_index(index.folder)


def _kind(index: Index, count: int) -> str:
    """Returns how an index of some number of images is searched."""
    if count <= (EXACT_UP_TO if index.info.kind == "auto" else COMPARED):
        return "exact"
    return "ivfpq" if index.info.kind == "auto" else index.info.kind
