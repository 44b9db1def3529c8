"""Features of a user's own images, in any number, with the paths of the images that they are of."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from tqdm import tqdm

from rgbir_jax.data.given_images import GivenImage, decoded, has_equal_channels
from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.errors import UserError
from rgbir_jax.files import read_npz, whole_file
from rgbir_jax.inference.features import BATCH
from rgbir_jax.training import processes

IN_MEMORY = 2 * BATCH  # images that are decoded at a time

AGAIN = "write it again with rgbir-features."

# (images uint8 [n, height, width, 3], modality int32 [n]) -> unit vectors [n, dim]
Extract = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Features(np.ndarray):
    """Unit vectors, float32 [n, dim]: an array that also knows the images.

    So does what is chosen from it by images: `features[:9]`, `features[[3, 1]]`, `features[features.modality == 1]`. A
    single vector, `features[3]`, and whatever else is computed from it does not.

    Attributes:
        paths: the path of each image as it was found; "image 3" for one without a file.
        modality: int32 [n], 0 RGB, 1 IR.
        skipped: a sentence about each image that could not be read; it has no row.
        run: the fingerprint of the run that computed them: features of two runs cannot be compared.
    """

    paths: tuple[str, ...] = ()
    modality: Int32[np.ndarray, "n"] | None = None
    skipped: tuple[str, ...] = ()
    run: str = ""

    def __getitem__(self, key: Any) -> Any:
        """Chooses images or numbers, as of any array."""
        chosen: Any = super().__getitem__(key)
        rows, *others = key if isinstance(key, tuple) and key else (key,)
        is_whole = np.ndim(chosen) == 2 and all(isinstance(other, slice) and other == slice(None) for other in others)
        if is_whole and self.modality is not None:
            places = np.arange(len(self.paths))[rows]
            chosen.paths = tuple(self.paths[place] for place in places)
            chosen.modality, chosen.run = self.modality[places], self.run
        return chosen

    @classmethod
    def of(
        cls,
        vectors: Float32[np.ndarray, "n dim"],
        paths: Sequence[str],
        modality: Int32[np.ndarray, "n"],
        run: str,
    ) -> "Features":
        """Adds what is known of the images to their vectors."""
        features = vectors.view(cls)
        features.paths, features.modality, features.run = tuple(paths), modality, run
        return features

    @classmethod
    def joined(cls, blocks: Sequence["Features"]) -> "Features":
        """Joins the features of one run, at least one block.

        Raises:
            UserError: if they are of two runs.
        """
        if len({block.run for block in blocks}) > 1:
            raise UserError("these features are of two runs, which cannot be compared; compute all with the same.")
        features = cls.of(
            np.concatenate([np.asarray(block) for block in blocks]),
            [path for block in blocks for path in block.paths],
            np.concatenate([np.asarray(block.modality) for block in blocks]),
            blocks[0].run,
        )
        features.skipped = tuple(sentence for block in blocks for sentence in block.skipped)
        return features

    @classmethod
    def load(cls, path: str | Path) -> "Features":
        """Reads a file of `save` or of rgbir-features.

        Raises:
            UserError: if it is not there, damaged, or another kind of file.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise UserError(f"there is no file {path}; rgbir-features writes files of features.")
        arrays = read_npz(path, AGAIN)
        if reason := _misfit(arrays):
            raise UserError(f"{path} is no file of features: {reason}; {AGAIN}")
        modality = arrays["modality"].astype(np.int32)
        return cls.of(arrays["feature"], arrays["path"].tolist(), modality, str(arrays["run"]))

    def save(self, path: str | Path) -> None:
        """Writes an .npz file: `feature`, `path` and `modality` with a row per image, and `run`.

        Raises:
            UserError: if the file cannot be written.
        """
        with whole_file(Path(path)) as file:
            columns = {"feature": np.asarray(self), "path": np.array(self.paths, str), "modality": self.modality}
            np.savez(file, **columns, run=self.run)


def _misfit(arrays: Mapping[str, np.ndarray]) -> str:
    """Says in what arrays differ from those that `Features.save` writes; empty if in nothing."""
    if absent := [name for name in ("feature", "path", "modality", "run") if name not in arrays]:
        return f"it has no array {absent[0]}"
    feature, path, modality, run = (arrays[name] for name in ("feature", "path", "modality", "run"))
    if feature.dtype != np.float32 or feature.ndim != 2 or not np.isfinite(feature).all():
        return f"feature is {feature.dtype} {list(feature.shape)} and must be finite float32 [images, size]"
    if path.shape != feature.shape[:1] or path.dtype.kind != "U":
        return f"path must have {len(feature)} texts"
    if modality.shape != feature.shape[:1] or not set(modality.tolist()) <= set(range(len(MODALITIES))):
        return f"modality must have {len(feature)} numbers, 0 or 1"
    return "" if run.shape == () and run.dtype.kind == "U" else "run must be a text"


def feature_blocks(
    extract: Extract,
    images: Sequence[GivenImage],
    image_size: tuple[int, int],
    modality: Int32[np.ndarray, "n"] | None,
    run: str,
    skipped: list[str],
) -> Iterator[Features]:
    """Computes the features of images, some at a time, with a progress bar if it takes more than two seconds.

    Images that cannot be read are left out; at the end they are named and counted on stderr. So is what was guessed.

    Args:
        extract: computes unit vectors of pixels.
        images: the images.
        image_size: (height, width) in pixels that they are resized to.
        modality: 0 RGB, 1 IR; None: images with three equal channels are taken as IR, all others as RGB.
        run: the fingerprint of the run.
        skipped: a list to which a sentence about each image that cannot be read is added.

    Yields:
        Features of up to `IN_MEMORY` images, in order.
    """
    pixels, is_ir, quiet = decoded(images, image_size), 0, not processes.is_first()
    with tqdm(total=len(images), desc="features", unit="image", delay=2, leave=False, disable=quiet) as bar:
        for start in range(0, len(images), IN_MEMORY):
            results = list(enumerate(islice(pixels, IN_MEMORY), start))
            skipped += [str(result) for _, result in results if isinstance(result, UserError)]
            good = {place: result for place, result in results if not isinstance(result, UserError)}
            if good:
                block = np.stack(list(good.values()))
                kinds = has_equal_channels(block).astype(np.int32) if modality is None else modality[list(good)]
                is_ir += int(kinds.sum())
                vectors = _of_any_number(extract, block, kinds, len(images))
                yield Features.of(vectors, [images[place].name for place in good], kinds, run)
            bar.update(len(results))
    if skipped:
        _say(*skipped, f"{len(skipped):,} of {len(images):,} images cannot be read and were left out.")
    if modality is None and len(images) > len(skipped):
        _say(
            f"The modality was guessed: {is_ir:,} images with three equal channels are taken as IR, "
            f"{len(images) - len(skipped) - is_ir:,} others as RGB. Give the modality if this is wrong."
        )


def _of_any_number(
    extract: Extract, images: UInt8[np.ndarray, "n height width 3"], modality: Int32[np.ndarray, "n"], total: int
) -> Float32[np.ndarray, "n dim"]:
    """Computes features of one block of `total` images.

    Few are repeated to a power of two, and the last few of many to a batch: every other number is compiled once more.
    """
    least = min(BATCH, 1 << (total - 1).bit_length())
    places = np.resize(np.arange(len(images)), max(len(images), least))
    return extract(images[places], modality[places])[: len(images)]


def _say(*sentences: str) -> None:
    if processes.is_first():
        print(*sentences, sep="\n", file=sys.stderr)
