"""The images that the page shows, their features, and the search among them."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from rgbir_jax.browse.people import Label, labels
from rgbir_jax.data.decoding import decode
from rgbir_jax.data.given_images import GivenModality, image_paths
from rgbir_jax.errors import UserError
from rgbir_jax.run import Run
from rgbir_jax.search.index import Index, open_index
from rgbir_jax.search.store import is_index
from rgbir_jax.search.table import stamp
from rgbir_jax.search.updating import ENDING, differences


@dataclass(frozen=True, eq=False)
class Gallery:
    """Images with their features. An image is asked for by its number: its place, from 0.

    Attributes:
        folder: the folder of the images.
        paths: their files, relative to it, sorted.
        vectors: unit vectors.
        person: the person's name or number; empty if it is not known.
        camera: the camera's number, from 1; 0 if it is not known.
        modality: 0 RGB, 1 IR.
        stamps: what `rgbir_jax.search.table.stamp` gave of each file when the gallery was opened.
    """

    folder: Path
    paths: Sequence[str]
    vectors: Float32[np.ndarray, "n dim"]
    person: Sequence[str]
    camera: Int[np.ndarray, "n"]
    modality: Int[np.ndarray, "n"]
    stamps: Sequence[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.paths)

    def check(self, number: object) -> int:
        """Returns the number of an image.

        Raises:
            UserError: for anything else.
        """
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(self):
            raise UserError(f"the gallery has no image of this number; its {len(self):,} images are numbered from 0.")
        return number

    def chosen(self, cameras: Sequence[int], modality: int | None) -> Bool[np.ndarray, "n"]:
        """Says which images are of some cameras and of a modality; of any if none is named."""
        shown = np.ones(len(self), bool)
        if cameras:
            shown &= np.isin(self.camera, cameras)
        if modality is not None:
            shown &= self.modality == modality
        return shown

    def read(self, number: int, image_size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
        """Decodes an image.

        Args:
            number: its number.
            image_size: the height and width in pixels.

        Raises:
            UserError: if its file is gone, was replaced after its features were computed, or cannot be decoded.
        """
        name = self.paths[self.check(number)]
        size, _ = now = stamp(self.folder / name)
        if now != self.stamps[number]:
            change = "is gone" if size < 0 else "was replaced"
            raise UserError(f"{name} {change} since rgbir-browse was started; start it again to see the new gallery.")
        return np.asarray(decode(self.folder / name, image_size, name))


def open_gallery(place: str, run: Run, modality: GivenModality = None) -> Gallery:
    """Opens an index or a folder as a gallery. If a folder has an index next to it, FOLDER.index, this is used.

    Args:
        place: an index of rgbir-index, or a folder.
        run: the run that computes the features of a folder.
        modality: that of images whose folder does not tell it; None: it is guessed.

    Raises:
        UserError: if there are no images, or if the index belongs to another run.
    """
    place = os.path.expanduser(place)
    for folder in (Path(place), Path(os.path.abspath(place) + ENDING)):
        if is_index(folder):
            return _of_index(open_index(folder), run)
    if not os.path.isdir(place):
        raise UserError(f"--gallery {place} is no folder; name a folder of images, or an index of rgbir-index.")
    return _of_folder(Path(place), run, modality)


def _of_index(index: Index, run: Run) -> Gallery:
    index.check_run(run.fingerprint)
    index.check_images()
    if difference := differences(index, os.path.relpath(index.gallery.resolve())):
        print(difference, file=sys.stderr)
    known = labels(index.gallery, index.table.paths)
    vectors = index.vectors_of(np.arange(len(index.table)))
    return _gallery(index.gallery, index.table.paths, vectors, known, index.table.modality)


def _of_folder(folder: Path, run: Run, modality: GivenModality) -> Gallery:
    files = image_paths(folder)
    known = dict(zip(files, labels(folder, [os.path.relpath(file, folder) for file in files]), strict=True))
    kinds = [label.modality for label in known.values()]
    features = run.features(files, modality if None in kinds else np.array(kinds))
    assert features.modality is not None
    relative = [os.path.relpath(path, folder) for path in features.paths]
    return _gallery(
        folder, relative, np.asarray(features), [known[path] for path in features.paths], np.asarray(features.modality)
    )


def _gallery(
    folder: Path,
    paths: Sequence[str],
    vectors: Float[np.ndarray, "n dim"],
    known: Sequence[Label],
    modality: Int[np.ndarray, "n"],
) -> Gallery:
    """Makes a gallery; what is known of an image comes before the modality that its features were computed with."""
    camera, kinds = np.array([label.camera for label in known]), np.asarray(modality, np.int64)
    stamps = [stamp(folder / path) for path in paths]
    return Gallery(folder, paths, vectors, [label.person for label in known], camera, kinds, stamps)
