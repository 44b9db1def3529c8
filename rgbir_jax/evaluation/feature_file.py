"""Scores features that any system has written: an .npz file and SYSU-MM01's own lists in, a table out."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from rgbir_jax.datasets import sysu_lists, sysu_mm01
from rgbir_jax.datasets.records import Records
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import scores
from rgbir_jax.evaluation.evaluate import evaluate

# What each array may be called.
SPELLINGS = {
    "feature": ("feature",),
    "person_id": ("person_id", "pid"),
    "camera": ("camera", "cam"),
    "index": ("index",),
}


@dataclass(frozen=True)
class FeatureFile:
    """Features, and what each image shows."""

    feature: Float[np.ndarray, "n d"]
    person_id: Int[np.ndarray, "n"]
    camera: Int[np.ndarray, "n"]
    index: Int[np.ndarray, "n"]  # image number from 1 within person and camera

    def records(self) -> Records:
        """Returns the table of these images, as if they were SYSU-MM01's test images."""
        path = [
            f"cam{camera}/{person:04d}/{number:04d}"
            for camera, person, number in zip(self.camera, self.person_id, self.index, strict=True)
        ]
        return Records(
            path=np.array(path),
            person_id=self.person_id.astype(np.int32),
            camera=self.camera.astype(np.int32),
            index=self.index.astype(np.int32),
            modality=sysu_mm01.modality_of(self.camera),
            split=np.full(len(path), "test"),
        )


def read_features(path: str | Path) -> FeatureFile:
    """Reads and checks an .npz file with the arrays of `SPELLINGS`.

    Raises:
        UserError: where the file or an array is absent or not what it should be, or an
        image is there twice.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} is not there; --features names an .npz file.")
    try:
        with np.load(path) as file:
            present = {name: file[name] for name in file}
    except (zipfile.BadZipFile, TypeError, ValueError, EOFError) as error:
        raise UserError(f"{path} is not an .npz file of plain numbers; write it with numpy.savez.") from error
    arrays = {name: _named(present, spellings, path) for name, spellings in SPELLINGS.items()}

    feature = arrays.pop("feature")
    if feature.ndim != 2 or not np.issubdtype(feature.dtype, np.floating):
        raise UserError(f"{path}: feature is {feature.dtype} {list(feature.shape)}; it must be float [images, size].")
    for name, array in arrays.items():
        if array.shape != (len(feature),) or not np.issubdtype(array.dtype, np.integer):
            raise UserError(
                f"{path}: {name} is {array.dtype} {list(array.shape)}; it must hold "
                f"{len(feature)} integers, one a feature."
            )
    if not len(feature) or not np.isfinite(feature).all():
        raise UserError(f"{path}: feature is empty or has values that are not finite.")
    images, counts = np.unique(np.stack(list(arrays.values())), axis=1, return_counts=True)
    if counts.max() > 1:
        person, camera, number = images[:, counts.argmax()]
        raise UserError(f"{path}: image {number} of identity {person}, camera {camera}, is there {counts.max()} times.")
    return FeatureFile(feature, **{name: array.astype(np.int64) for name, array in arrays.items()})


def score_feature_file(
    features_path: str, rand_perm: str | None, test_ids: str | None, protocol: str, json_out: str | None
) -> str:
    """Scores an .npz file of features on SYSU-MM01: `eval.py --features`.

    Args:
        features_path: see `read_features`.
        rand_perm: rand_perm_cam.mat; None for the protocol `agw`.
        test_ids: .mat or text file with the identities to score; None: all in the file.
        protocol: one of `sysu_mm01.PROTOCOLS`.
        json_out: where to write the scores as JSON; None: nowhere.

    Returns:
        The table to print.

    Raises:
        UserError: where a file cannot be read or does not fit the others.
    """
    file = read_features(features_path)
    records = file.records()
    searches = sysu_mm01.drawn_searches(
        records,
        protocol,
        None if rand_perm is None else sysu_lists.read_permutations(rand_perm),
        None if test_ids is None else sysu_lists.read_ids(test_ids),
    )
    scored = evaluate(file.feature, records, searches)
    if json_out is not None:
        Path(json_out).write_text(json.dumps({"protocol": protocol} | scored, indent=1) + "\n")
    return scores.table(scored, protocol, f"{sysu_mm01.TITLE}, {Path(features_path).name}")


def _named(present: dict[str, np.ndarray], spellings: tuple[str, ...], path: str | Path) -> np.ndarray:
    for spelling in spellings:
        if spelling in present:
            return present[spelling]
    raise UserError(f"{path} has no array {' or '.join(spellings)}; it has {', '.join(present) or 'none'}.")
