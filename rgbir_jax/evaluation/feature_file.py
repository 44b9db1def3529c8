"""Files of features, .npz, and their scores. `eval.py --features_out` writes them, and any other system can."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from rgbir_jax.datasets import SYSU_MM01, find_dataset, sysu_lists, sysu_mm01
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import MODALITIES, Records
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import scores
from rgbir_jax.evaluation.evaluate import evaluate, reranked, say_collapsed, summarised
from rgbir_jax.evaluation.reranking import Reranking
from rgbir_jax.evaluation.searches import searches_of
from rgbir_jax.evaluation.verification import with_verification
from rgbir_jax.files import read_npz, writing

LARGEST = 1e100  # of a feature's values
SPELLINGS = {"person_id": ("person_id", "pid"), "camera": ("camera", "cam")}  # what these arrays may be called


@dataclass(frozen=True)
class FeatureFile:
    """Features, and what each image shows.

    Attributes:
        feature: one per image.
        records: the table of these images, all of them test images.
        dataset: the dataset that they are from.
        title: what tables call the dataset; drawn people are named as such.
    """

    feature: Float[np.ndarray, "n d"]
    records: Records
    dataset: Dataset
    title: str


def write_features(
    path: str | Path, feature: Float[np.ndarray, "n d"], records: Records, dataset: str, title: str
) -> None:
    """Writes features and what each image shows.

    Args:
        path: the file; `read_features` can read it.
        feature: one per image.
        records: the table of these images.
        dataset: `config.dataset`.
        title: what tables call the dataset.

    Raises:
        UserError: if the file cannot be written.
    """
    with writing(path), Path(path).open("wb") as file:
        np.savez(file, feature=feature, dataset=dataset, title=title, **vars(records))


def read_features(path: str | Path) -> FeatureFile:
    """Reads and checks an .npz file.

    It has `feature`, `person_id`, `camera` and `index`, the image's number from 1 within split, person, camera and
    modality. If it has a `dataset`, it also has `modality` and `split`, and may have `path` and `title`. If not, it has
    test images of SYSU-MM01, whose cameras give the modality.

    Raises:
        UserError: if the file or an array is absent or not what it should be, if an image is there twice or is none of
            the test images, or if the dataset is unknown.
    """
    present = _load(path)
    feature = _feature(present, path)
    person_id, camera, index = (_integers(present, name, feature, path) for name in ("person_id", "camera", "index"))
    if "dataset" in present:
        dataset = _dataset(str(present["dataset"]), path)
        modality, split = _integers(present, "modality", feature, path), _texts(present, "split", feature, path)
    else:
        dataset, modality, split = SYSU_MM01, sysu_mm01.modality_of(camera), np.full(len(feature), "test")
    has_paths = {"dataset", "path"} <= present.keys()
    paths = _texts(present, "path", feature, path) if has_paths else np.arange(len(feature)).astype(str)
    records = Records(paths, person_id, camera, index, modality, split)
    _say_unused(present, "dataset" in present, path)
    _check(records, dataset, path)
    return FeatureFile(feature, records, dataset, str(present.get("title", dataset.title)))


def score_feature_file(
    features_path: str,
    rand_perm: str | None = None,
    test_ids: str | None = None,
    protocol: str | None = None,
    reranking: Reranking | None = None,
) -> tuple[str, dict]:
    """Scores an .npz file of features by the searches of its dataset: `eval.py --features`.

    Args:
        features_path: see `read_features`.
        rand_perm: the file that draws the galleries; None for a protocol that needs none.
        test_ids: .mat or text file with the identities of SYSU-MM01 to score; None: all in the file.
        protocol: one of the dataset's protocols; None: the first.
        reranking: parameters with which they are also scored after re-ranking; None: they are not.

    Returns:
        The tables to print, and the same as values for a JSON file.

    Raises:
        UserError: if a file cannot be read, or does not fit the others or the protocol.
    """
    file = read_features(features_path)
    dataset = file.dataset
    protocol = protocol or dataset.protocols[0]
    if rand_perm is not None and protocol in set(dataset.protocols) - set(dataset.gallery_files):
        raise UserError(
            f"the protocol {protocol} of {dataset.title} draws no galleries from a file; leave --rand_perm out."
        )
    if test_ids is not None:
        file = _select(file, test_ids, features_path)
    searches = searches_of(dataset, file.records, protocol, None if rand_perm is None else Path(rand_perm))
    say_collapsed(file.feature, features_path)
    scored = with_verification(evaluate(file.feature, file.records, searches), file.feature, file.records, searches)
    content = {"dataset": file.title, "protocol": protocol} | scored
    title = f"{file.title}, {Path(features_path).name}"
    parts = [scores.table(scored, protocol, title)]
    if reranking:
        again = summarised(reranked(file.feature, file.records, searches, reranking, str(reranking)), searches)
        content["reranked"] = reranking.labelled(again)
        parts.append(scores.table(again, protocol, f"{title}, {reranking}"))
    pairs = {name: score["verification"] for name, score in scored.items()}
    parts.append(str(scores.verification_table(pairs, title)))
    return "\n\n".join(parts), content


def _select(file: FeatureFile, test_ids: str, path: str) -> FeatureFile:
    """Returns the features of the identities that a list of SYSU-MM01 names."""
    if file.dataset is not SYSU_MM01:
        raise UserError(
            f"--test_ids lists identities of {SYSU_MM01.title}, and {path} has features of {file.title}; leave it out."
        )
    ids = sysu_lists.read_ids(test_ids)
    absent = np.setdiff1d(ids, file.records.person_id)
    if len(absent) == len(np.unique(ids)):
        raise UserError(f"None of the test identities in {test_ids} has a feature in {path}; do they belong together?")
    if len(absent):
        raise UserError(
            f"{test_ids} lists identity {absent[0]}, who has no feature in {path}; add the features or take the "
            "identity off the list."
        )
    rows = np.flatnonzero(np.isin(file.records.person_id, ids))
    return FeatureFile(file.feature[rows], file.records.select(rows), file.dataset, file.title)


def _load(path: str | Path) -> dict[str, np.ndarray]:
    if not Path(path).is_file():
        raise UserError(f"{path} is not there; --features names an .npz file.")
    return read_npz(Path(path), "write it with numpy.savez.")


def _dataset(name: str, path: str | Path) -> Dataset:
    try:
        return find_dataset(name, f"{path}: the dataset")
    except UserError as error:
        hint = " PYTHONPATH can name the folder that its module is in." if ":" in name else ""
        raise UserError(f"{error}{hint}") from error


def _feature(present: Mapping[str, np.ndarray], path: str | Path) -> Float[np.ndarray, "n d"]:
    feature = _named(present, "feature", path)
    if feature.ndim != 2 or not np.issubdtype(feature.dtype, np.floating):
        raise UserError(f"{path}: feature is {feature.dtype} {list(feature.shape)}; it must be float [images, size].")
    if not feature.size or not np.isfinite(feature).all():
        raise UserError(f"{path}: feature is empty or has values that are not finite.")
    if float(np.abs(feature).max()) > LARGEST:
        raise UserError(f"{path}: feature has values above {LARGEST:g}, whose squares are not finite; scale them.")
    return feature


def _integers(
    present: Mapping[str, np.ndarray], name: str, feature: np.ndarray, path: str | Path
) -> Int[np.ndarray, "n"]:
    array = _named(present, name, path)
    is_right = array.shape == (len(feature),) and np.issubdtype(array.dtype, np.integer)
    if not is_right or np.any(array != array.astype(np.int32)):
        raise UserError(
            f"{path}: {name} is {array.dtype} {list(array.shape)}; it must hold {len(feature)} integers of 32 bits, "
            "one per feature."
        )
    return array.astype(np.int32)


def _texts(present: Mapping[str, np.ndarray], name: str, feature: np.ndarray, path: str | Path) -> np.ndarray:
    array = _named(present, name, path)
    if array.shape != (len(feature),) or array.dtype.kind != "U":
        raise UserError(
            f"{path}: {name} is {array.dtype} {list(array.shape)}; it must hold {len(feature)} texts, one per feature."
        )
    return array


def _say_unused(present: Mapping[str, np.ndarray], names_dataset: bool, path: str | Path) -> None:
    """Prints on stderr which arrays are not used: one may have been meant for something."""
    used = {"feature", "index", *(spelling for spellings in SPELLINGS.values() for spelling in spellings)}
    used |= {"dataset", "modality", "split", "path", "title"} if names_dataset else {"title"}
    if unused := [name for name in present if name not in used]:
        need = "" if names_dataset else "; without an array dataset, a file has test images of SYSU-MM01"
        print(f"{path}: arrays that are not used: {', '.join(unused)}{need}.", file=sys.stderr)


def _named(present: Mapping[str, np.ndarray], name: str, path: str | Path) -> np.ndarray:
    spellings = SPELLINGS.get(name, (name,))
    for spelling in spellings:
        if spelling in present:
            return present[spelling]
    raise UserError(f"{path} has no array {' or '.join(spellings)}; it has {', '.join(present) or 'none'}.")


def _check(records: Records, dataset: Dataset, path: str | Path) -> None:
    """Refuses images that are numbered from 0, of no modality, of a camera or a probe of a person that the dataset does
    not have, no test images, or there twice.
    """
    cameras = dataset.published.get("cameras")
    here = f"{dataset.title} has the cameras 1 to {cameras}" if cameras else "cameras are numbered from 1"
    faults = {
        "images are numbered from 1": records.index < 1,
        here: (records.camera < 1) | (records.camera > (cameras or np.inf)),
        "probes show persons who are numbered from 1": (
            (records.person_id < 1) & (records.split != "gallery") & (cameras is not None)
        ),
        "its modality is neither 0 (RGB) nor 1 (IR)": ~np.isin(records.modality, range(len(MODALITIES))),
        f"it is none of the test images of {dataset.title}": ~np.isin(records.split, dataset.splits["test"]),
    }
    for fault, is_wrong in faults.items():
        for row in np.flatnonzero(is_wrong):
            raise UserError(f"{path}: {records.image(row)} cannot be scored: {fault}.")
    _, splits = np.unique(records.split, return_inverse=True)
    labels = np.stack([splits, records.person_id, records.camera, records.modality, records.index])
    _, first, counts = np.unique(labels, axis=1, return_index=True, return_counts=True)
    if counts.max() > 1:
        raise UserError(f"{path}: {records.image(first[counts.argmax()])} is there {counts.max()} times.")
