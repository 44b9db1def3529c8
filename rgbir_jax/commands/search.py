"""Searches for people in a gallery: prints the gallery images that are nearest to each query.

    rgbir-search query.png --gallery people --run runs/own
    rgbir-search "queries/*.png" --gallery people.index --out found.html --out found.json

A QUERY is a file, a folder, a pattern, or features that rgbir-features wrote, F.npz. So is the gallery, or it is an
index of rgbir-index. If a folder has an index next to it, FOLDER.index, this is used; otherwise its images are read for
this search only. An index is searched with the run that made it, and --run names the one that made F.npz. --modality is
that of the queries, --gallery-modality that of a gallery whose images are read; without them it is guessed. An index
and F.npz have theirs. --out writes the lists as a page with thumbnails (.html), a picture (.png) or values (.json).
--explain adds activation maps to pages and pictures: where in each image the similarity comes from. --same-at-fpr says
of each image whether it shows the query's person, by the threshold that lets this share of the pairs of two persons
pass; the run must have found it on validation identities.

Exit status: 0 if all images were read; 1 if some could not be read and were left out; 2 if nothing was found; 130 after
Ctrl-C.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rgbir_jax.commands import own_images
from rgbir_jax.commands.given import Given, features_of
from rgbir_jax.commands.index import index_of
from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.errors import UserError
from rgbir_jax.files import check_writable, whole_file
from rgbir_jax.run import Run
from rgbir_jax.search.explaining import maps_of
from rgbir_jax.search.index import Index, open_index
from rgbir_jax.search.pictures import Maps, write_page, write_sheet
from rgbir_jax.search.ranking import NOT_KNOWN, Ranking, rank
from rgbir_jax.search.store import is_index
from rgbir_jax.search.updating import differences

ENDINGS = (".html", ".png", ".json")


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    flags = own_images.parser("rgbir-search", __doc__, "of the queries; else it is guessed for each image")
    flags.add_argument("queries", nargs="+", metavar="QUERY", help="whom to look for: images, or F.npz")
    flags.add_argument("--gallery", required=True, metavar="FOLDER|INDEX|F.npz", help="the images to look among")
    flags.add_argument("--gallery-modality", choices=MODALITIES, help="of the images of a gallery that are read now")
    flags.add_argument("--top", type=int, default=10, help="number of images in each list")
    flags.add_argument("--out", action="append", default=[], metavar="FILE", help=" or ".join(ENDINGS))
    flags.add_argument("--explain", action="store_true", help="show activation maps in .html and .png")
    flags.add_argument("--same-at-fpr", type=float, metavar="RATE", help="share of wrong pairs to accept, such as 1e-3")
    options = flags.parse_args(argv)
    if options.top < 1:
        flags.error("--top must be at least 1.")
    if options.explain and not any(out.lower().endswith(ENDINGS[:2]) for out in options.out):
        flags.error("--explain shows activation maps in a page or a picture; add --out FILE.html or FILE.png.")

    own_images.ends("rgbir-search", lambda: _search(options))


def _search(options: argparse.Namespace) -> bool:
    """Prints and writes the ranked lists; says whether every image could be read."""
    outs, gallery = [Path(out).expanduser() for out in options.out], os.path.expanduser(options.gallery)
    folder = next((folder for folder in (Path(gallery), index_of(gallery)) if is_index(folder)), None)
    given = [Given.of(query) for query in options.queries]
    paths = [path for query in given for path in query.paths]
    if folder:
        index = open_index(folder)
        index.check_images()
        index.load()
        place = gallery if folder != Path(gallery) else os.path.relpath(index.gallery.resolve())
        _check_outs(outs, paths, place)
        _check_reads_gallery(options, f"{folder} has their features; make it once more with rgbir-index --modality")
        model = _run_of(index, options.run)
        _check(model, given, options)
        queries = features_of(given, model, options.modality)
        ranking, skipped = index.search(queries, options.top), queries.skipped
        rows = np.unique(ranking.order) if folder == Path(gallery) else None
        print(f"{folder}: {len(index.table):,} images. {differences(index, place, rows)}".rstrip(), file=sys.stderr)
        ranking = ranking._replace(gallery=ranking.gallery.below(place))
    else:
        others = Given.of(gallery)
        if others.features is not None:
            _check_reads_gallery(options, f"{gallery} has features; make it once more with rgbir-features --modality")
        _check_outs(outs, paths if os.path.isdir(gallery) else [*paths, *others.paths], gallery)
        model = own_images.opened(options.run)
        _check(model, [*given, others], options)
        queries = features_of(given, model, options.modality)
        images = features_of([others], model, options.gallery_modality)
        ranking, skipped = rank(queries, images, options.top), queries.skipped + images.skipped
    if options.same_at_fpr is not None:
        ranking = ranking.judged(model.thresholds(), options.same_at_fpr)
        _say_threshold(ranking, model, options.same_at_fpr)
    print(ranking)
    maps = maps_of(model, ranking) if options.explain else None
    for out in outs:
        _write(out, ranking, model, f"{gallery}, searched with {model.name}", maps)
    return not skipped


def _check_reads_gallery(options: argparse.Namespace, reason: str) -> None:
    """Refuses --gallery-modality if no image of the gallery is read."""
    if options.gallery_modality:
        raise UserError(f"--gallery-modality is of images that are read now, and {reason}.")


def _check_outs(outs: Sequence[Path], images: Sequence[str], gallery: str) -> None:
    """Checks the files to write, before images are read.

    Args:
        outs: the files.
        images: images that must not be written over.
        gallery: the gallery's folder, in which a picture would be taken for one of its images.

    Raises:
        UserError: for a file that cannot be written, or must not be.
    """
    taken = {os.path.realpath(image) for image in images}
    for out in outs:
        if out.suffix.lower() not in ENDINGS:
            raise UserError(f"--out {out} has none of the endings {', '.join(ENDINGS)}; choose one of them.")
        check_writable(out, "--out")
        if os.path.realpath(out) in taken:
            raise UserError(f"--out {out} is one of the images to search with; name another file.")
        if (
            out.suffix.lower() == ".png"
            and os.path.isdir(gallery)
            and out.resolve().is_relative_to(Path(gallery).resolve())
        ):
            raise UserError(
                f"--out {out} is in the gallery and would be taken for one of its images; name another place."
            )


def _check(model: Run, given: Sequence[Given], options: argparse.Namespace) -> None:
    """Refuses features of another run, and what the run cannot do, before images are read."""
    for one in given:
        one.check_run(model)
    if options.explain:
        model.check_explains()
    if options.same_at_fpr is not None:
        model.threshold(options.same_at_fpr)


def _say_threshold(ranking: Ranking, model: Run, fpr: float) -> None:
    found = model.thresholds()
    print(
        f"same: closer than {found.at(fpr):.3f}, found on {found.people} people of {found.dataset} ({found.search}); "
        f"other data may need another threshold.",
        file=sys.stderr,
    )
    if ranking.same is not None and (ranking.same < 0).any():
        kinds = f"{' or '.join(found.probe).upper()} with {' or '.join(found.gallery).upper()}"
        print(
            f"{NOT_KNOWN}: the threshold was found on pairs of {kinds} images and applies to no others.",
            file=sys.stderr,
        )


def _run_of(index: Index, run: str | None) -> Run:
    """Opens the run that made an index, or another place of it."""
    try:
        model = own_images.opened(run or index.info.run_name)
    except UserError as error:
        if run:
            raise
        raise UserError(f"{error} It made {index.folder}; if it was moved, --run names its new place.") from error
    index.check_run(model.fingerprint)
    return model


def _write(out: Path, ranking: Ranking, model: Run, title: str, maps: Maps | None) -> None:
    ending = out.suffix.lower()
    height, width = model.facts.image_size
    if ending == ".html":
        write_page(out, ranking, (height, width), title, maps)
    elif ending == ".png":
        write_sheet(out, ranking, (height, width), maps)
    else:
        with whole_file(out) as file:
            file.write(json.dumps({"title": title, "queries": ranking.as_json()}, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
