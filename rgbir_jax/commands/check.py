"""Checks a dataset's folder before anything is trained on it.

    rgbir-check data/SYSU-MM01

It recognises the dataset, counts people, cameras and images, decodes every image, and says what is wrong or missing,
where the dataset comes from, which protocols can run, which folds can be used and who is in one modality only.

Exit status: 0 if nothing is wrong; 1 if something is wrong or missing, also if the rest can be used; 2 if the folder is
no dataset, or for wrong arguments; 130 after Ctrl-C.
"""

import argparse
import contextlib
import inspect
import io
import os
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from rgbir_jax.commands import stop
from rgbir_jax.data.decoding import decode, in_threads
from rgbir_jax.datasets import find_dataset, recognise
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import IR, RGB, Records, is_drawn
from rgbir_jax.datasets.search import CANNOT_BE_FOUND
from rgbir_jax.errors import UserError, one_line
from rgbir_jax.evaluation.searches import searches_of
from rgbir_jax.lookup import choose

SIZE = (32, 16)  # height and width that images are decoded to
FEW = 5  # images or persons that one line names


def counts(dataset: Dataset, records: Records) -> dict[str, int]:
    """Counts the people, cameras and images of a tree. Distractors who match nobody are no people."""
    parts = {"": np.arange(len(records))}
    parts |= {"training ": dataset.rows(records, "trainval"), "test ": dataset.rows(records, "test")}
    numbers = {"cameras": len(np.unique(records.camera))}
    for part, rows in parts.items():
        people = np.unique(records.person_id[rows])
        numbers |= {f"{part}identities": int(np.sum(people > 0)), f"{part}images": len(rows)}
    return numbers


def published(dataset: Dataset, root: Path, records: Records) -> dict[str, int]:
    """Returns the numbers that a tree's publication gives, by the names of `counts`; nothing for drawn people."""
    if is_drawn(root / records.path[0]):
        return {}
    trains = {"training identities": dataset.identities["trainval"]} if dataset.identities else {}
    return {**dataset.published, **trains}


def in_one_modality(records: Records) -> np.ndarray:
    """Returns person_id of everybody who has images of one modality only."""
    rgb, ir = (records.person_id[records.modality == modality] for modality in (RGB, IR))
    return np.setxor1d(rgb, ir)


def faults(
    dataset: Dataset, root: Path, records: Records, protocols: Iterable[str], galleries: Path | None = None
) -> list[str]:
    """Says what is wrong with a tree that can be read, without decoding its images.

    Args:
        dataset: the dataset.
        root: the folder of the tree.
        records: its table.
        protocols: the protocols that should run.
        galleries: the file that draws the galleries; None: the one in `root`.

    Returns:
        Sentences.
    """
    here = counts(dataset, records)
    sentences = [
        f"{dataset.title} has {number:,} {name}, and {root} has {here[name]:,}."
        for name, number in published(dataset, root, records).items()
        if here[name] != number
    ]
    cameras = published(dataset, root, records).get("cameras")
    for camera in np.unique(records.camera[records.camera > cameras]) if cameras else ():
        sentences.append(f"{dataset.title} has the cameras 1 to {cameras}, and {root} has images of camera {camera}.")
    trains = records.select(dataset.rows(records, "trainval"))
    if np.ptp(records.modality) and len(people := in_one_modality(trains)):
        sentences.append(
            f"{len(people):,} training identities have images of one modality only: {_some(people)}; a recipe of both "
            f"modalities refuses them, so complete the copy or take them off the list of those who train."
        )
    test = records.select(dataset.rows(records, "test"))
    for protocol in protocols:
        notes = io.StringIO()
        try:
            with contextlib.redirect_stderr(notes):
                searches_of(dataset, test, protocol, galleries or root)
        except UserError as error:
            sentences.append(f"protocol {protocol} cannot run: {error}")
        sentences += [f"protocol {protocol}: {line}" for line in notes.getvalue().splitlines()]
    return sentences


def read_folds(dataset: Dataset, root: Path, options: dict[str, Any]) -> dict[int, tuple[str, list[str]]]:
    """Reads a tree in each of its folds; in none if it has none, or if `options` choose one.

    Returns:
        By the fold: the reason why it cannot be used, empty if it can, and the lines that the reader printed.
    """
    folds = {}
    for fold in () if "fold" in options else dataset.folds:
        fault, notes = "", io.StringIO()
        try:
            with contextlib.redirect_stderr(notes):
                dataset.read_with(root, ConfigDict(options | {"fold": fold}))
        except UserError as error:
            fault = str(error)
        folds[fold] = fault, notes.getvalue().splitlines()
    return folds


def check(dataset: Dataset, root: Path, options: dict[str, Any], decodes: bool, workers: int = 0) -> int:
    """Prints what a tree has and what is wrong with it.

    Args:
        dataset: the dataset that it should be.
        root: its folder.
        options: values for the dataset's `options`.
        decodes: whether every image is decoded.
        workers: the number of threads that decode; 0 means one per core.

    Returns:
        The exit status, 0 or 1.
    """
    folds = read_folds(dataset, root, options)
    usable = [fold for fold, (fault, _) in folds.items() if not fault]
    notes = io.StringIO()
    try:
        with contextlib.redirect_stderr(notes):
            records = dataset.read_with(root, ConfigDict(options | ({"fold": usable[0]} if usable else {})))
        title, expected = dataset.title_of(root, records), published(dataset, root, records)
    except UserError as error:
        print(f"{root}: {dataset.title}", *notes.getvalue().splitlines(), f"wrong: {error}", sep="\n")
        print("It cannot be used." + _source(dataset))
        return 1
    lines = [line for line in notes.getvalue().splitlines() if all(line in folds[fold][1] for fold in usable)]
    lines += [f"fold {fold}: {line}" for fold in usable for line in folds[fold][1] if line not in lines]
    print(f"{root}: {title}", *lines, sep="\n")
    _print_contents(dataset, records, expected)
    wrong = faults(dataset, root, records, dataset.protocols)
    wrong += [f"fold {fold} cannot be used: {fault}" for fold, (fault, _) in folds.items() if fault]
    can_run = [name for name in dataset.protocols if not any(f"protocol {name} cannot" in fault for fault in wrong)]
    print(f"  protocols that can run: {', '.join(can_run) or 'none'}")
    if usable:
        shown = ", ".join(map(str, usable))
        print(f"  folds that can be used: {shown}; the numbers above are those of fold {usable[0]}")
    damaged = _damaged(root, records, workers) if decodes else []
    print(*[f"wrong: {fault}" for fault in (*wrong, *damaged)], sep="\n", end="\n" if wrong or damaged else "")
    if damaged:
        print("It cannot be used before its damaged images are replaced." + _source(dataset))
    elif wrong:
        print("The rest can be used." + _source(dataset))
    else:
        print("Nothing is wrong." + ("" if decodes else " No image was decoded."))
    return 1 if wrong or damaged else 0


def _print_contents(dataset: Dataset, records: Records, expected: dict[str, int]) -> None:
    """Prints what is counted, next to the published numbers, and who is in one modality only or has which number."""
    for name, number in counts(dataset, records).items():
        print(f"  {name:<20}{number:>9,}" + (f"   published {expected[name]:,}" if name in expected else ""))
    if np.ptp(records.modality) and len(people := in_one_modality(records)):
        print(f"  in one modality only: {len(people):,} persons: {_some(people)}")
        if len(tested := in_one_modality(records.select(dataset.rows(records, "test")))):
            print(f"  tested in one modality only: {len(tested):,} persons: {_some(tested)}. {CANNOT_BE_FOUND}")
    if dataset.person_numbers:
        numbers = dataset.person_numbers(records)
        print("  numbers of persons:", one_line(", ".join(f"{number} {name}" for name, number in numbers.items())))


def _damaged(root: Path, records: Records, workers: int) -> list[str]:
    """Decodes every image. Returns a sentence about each that cannot be decoded."""
    decoded = in_threads(partial(_fault_of, root), records.path, workers)
    return [fault for fault in tqdm(decoded, "decoding", len(records), unit="image", delay=2) if fault]


def _fault_of(root: Path, path: str) -> str:
    try:
        decode(root / path, SIZE)
    except UserError as error:
        return str(error)
    return ""


def _source(dataset: Dataset) -> str:
    return f" {dataset.title} comes from {dataset.homepage}" if dataset.homepage else ""


def _some(people: np.ndarray) -> str:
    return ", ".join([*map(str, people[:FEW].tolist()), *["..."] * (len(people) > FEW)])


def _options(dataset: Dataset, texts: Iterable[str]) -> dict[str, Any]:
    """Reads options "KEY=VALUE" as the kind of value that the dataset's reader has by default.

    Raises:
        UserError: for a key that the dataset does not have, or a value of another kind.
    """
    options = {}
    for key, _, text in (text.partition("=") for text in texts):
        if key not in dataset.options:
            known = ", ".join(dataset.options) or "none"
            raise UserError(f"{dataset.title} has no option {key}; it has {known}.")
        kind = type(inspect.signature(dataset.read).parameters[key].default)
        try:
            options[key] = kind(text)
        except ValueError as error:
            raise UserError(f'--option {key} is "{text}", which is no {kind.__name__}; correct it.') from error
    if dataset.folds and "fold" in options:
        choose(options["fold"], dataset.folds, "--option fold")
    return options


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    arguments, dataset, options = _parse(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names need not be UTF-8
    try:
        sys.exit(check(dataset, Path(arguments.folder), options, not arguments.quick, arguments.workers))
    except KeyboardInterrupt:
        stop("rgbir-check: stopped.")


def _parse(argv: list[str] | None) -> tuple[argparse.Namespace, Dataset, dict[str, Any]]:
    parser = argparse.ArgumentParser(
        "rgbir-check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=os.path.expanduser, help="the dataset's folder")
    parser.add_argument("--dataset", help="its name, if it is not recognised: a value of config.dataset")
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="such as fold=2 for RegDB; else all"
    )
    parser.add_argument("--quick", action="store_true", help="decode no image")
    parser.add_argument("--workers", type=int, default=0, help="number of threads; 0 means one per core")
    arguments = parser.parse_args(argv)
    root = Path(arguments.folder)
    if arguments.workers < 0:
        parser.error("--workers must not be negative.")
    if not root.is_dir():
        parser.error(f"there is no folder {root}.")
    if not os.access(root, os.R_OK | os.X_OK):
        parser.error(f"{root} cannot be read; make it readable.")
    try:
        dataset = find_dataset(arguments.dataset, "--dataset") if arguments.dataset else recognise(root)
    except UserError as error:
        parser.error(str(error))
    if dataset is None:
        inside = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and recognise(folder)]
        hint = f"name the folder {inside[0]} in it." if inside else "docs/data.md shows the trees that are read."
        parser.error(f"{root} is no dataset that is known here; {hint}")
    try:
        return arguments, dataset, _options(dataset, arguments.option)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
