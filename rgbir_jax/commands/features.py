"""Computes the features of one's own images and writes them into a file.

    rgbir-features people -o features.npz --run runs/own

FOLDER may also be a file or a pattern such as "people/*.png", and there may be several. The .npz file has `feature`
float32 [images, size], unit vectors; `path` and `modality` (0 RGB, 1 IR) per image; and `run`, the fingerprint of the
run: features of two runs cannot be compared.

Exit status: 0 if all images were read; 1 if some could not be read and were left out; 2 if nothing was written; 130
after Ctrl-C.
"""

from pathlib import Path

from rgbir_jax.commands import own_images
from rgbir_jax.errors import UserError
from rgbir_jax.files import check_writable


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    flags = own_images.parser("rgbir-features", __doc__)
    flags.add_argument("images", nargs="+", metavar="FOLDER", help="a folder of images, a file or a pattern")
    flags.add_argument("-o", "--out", required=True, metavar="F.npz", help="the file to write")
    options = flags.parse_args(argv)

    def run() -> bool:
        out = Path(options.out).expanduser()
        if out.suffix.lower() != ".npz":  # an image may have been named by mistake
            raise UserError(f"--out {out} has not the ending .npz; add it.")
        check_writable(out, "--out")
        features = own_images.opened(options.run).features(options.images, options.modality)
        features.save(out)
        print(f"{out}: {len(features):,} features of {features.shape[1]} numbers, of the run {features.run}.")
        return not features.skipped

    own_images.ends("rgbir-features", run)


if __name__ == "__main__":
    main()
