"""Makes the index of a gallery for rgbir-search, or brings it up to date.

    rgbir-index people --run runs/own      # makes people.index; the same command again adds what is new

Only images that are new or changed are read; images whose files are gone are taken out. What is done is kept every few
minutes, so the same command continues after it was stopped. An index belongs to one run and one gallery. Up to 300,000
images are compared one by one (exact); more are searched with FAISS, which `pip install 'rgbir-jax[search]'` installs.

Exit status: 0 if all images were read; 1 if some could not be read and were left out; 2 if nothing was done; 130 after
Ctrl-C.
"""

import os
import sys
from pathlib import Path

import numpy as np

from rgbir_jax.commands import own_images
from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.errors import one_line
from rgbir_jax.search.index import Index
from rgbir_jax.search.updating import ENDING, KINDS, update

FEW = 3  # vanished images that are named


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    flags = own_images.parser("rgbir-index", __doc__)
    flags.add_argument("gallery", metavar="FOLDER", help="the folder of the gallery's images")
    flags.add_argument("-o", "--out", metavar="INDEX", help=f"the index's folder; else FOLDER{ENDING}")
    flags.add_argument("--kind", choices=KINDS, help="how it is searched; else auto, or as it was")
    options = flags.parse_args(argv)

    def run() -> bool:
        gallery = os.path.expanduser(options.gallery)
        folder = index_of(gallery) if options.out is None else Path(options.out).expanduser()
        done = update(folder, gallery, own_images.opened(options.run), options.modality, options.kind)
        if done.vanished:
            some = ", ".join(done.vanished[:FEW] + ["..."] * (len(done.vanished) > FEW))
            print(one_line(f"Taken out, because their files are gone: {len(done.vanished):,} images ({some})."))
        _say_kept(done.index, options.modality)
        print(
            f"{folder}: {len(done.index.table):,} images, {done.new:,} of them new and {done.changed:,} changed; "
            f"searched by {done.index.info.searched}."
        )
        return not done.skipped

    own_images.ends("rgbir-index", run)


def _say_kept(index: Index, modality: str | None) -> None:
    """Says how many images were read before in another modality than the one that is now given for all."""
    kept = 0 if modality is None else int(np.sum(index.table.modality != MODALITIES.index(modality)))
    if kept:
        print(
            f"{kept:,} images that were read before stay in the other modality; to read them again with --modality "
            f"{modality}, delete {index.folder} first.",
            file=sys.stderr,
        )


def index_of(gallery: str) -> Path:
    """Returns the folder of a gallery's index if no other is named: it is next to the gallery."""
    return Path(os.path.abspath(gallery) + ENDING)


if __name__ == "__main__":
    main()
