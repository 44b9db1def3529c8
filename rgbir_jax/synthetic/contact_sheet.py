"""Draws a sheet of people: one column per person, two RGB cameras above two infrared cameras.

python -m rgbir_jax.synthetic.contact_sheet --out docs/drawn_people.png --seed 2
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from rgbir_jax.synthetic import SYSU_CAMERAS, Identity, Pose, draw

_CAMERAS = (1, 4, 3, 6)  # one per row
_GAP = 3  # pixels between pictures


def contact_sheet(people: int, seed: int, size: tuple[int, int]) -> Image.Image:
    """Draws people as cameras 1, 4, 3 and 6 see them, each time in a different pose.

    Args:
        people: the number of people (columns).
        seed: the seed of people and poses, not negative.
        size: the height and width of each picture in pixels.
    """
    height, width = (side + _GAP for side in size)
    sheet = Image.new("RGB", (people * width - _GAP, len(_CAMERAS) * height - _GAP), "white")
    for person in range(people):
        rng = np.random.default_rng([seed, person])
        identity = Identity.random(rng)
        for row, number in enumerate(_CAMERAS):
            picture = draw(identity, Pose.random(rng), SYSU_CAMERAS[number - 1], int(rng.integers(2**31)), size)
            sheet.paste(Image.fromarray(picture), (person * width, row * height))
    return sheet


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="PNG file to write")
    parser.add_argument("--people", type=int, default=8, help="number of people")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, nargs=2, default=(160, 80), metavar=("HEIGHT", "WIDTH"), help="in pixels")
    options = parser.parse_args(argv)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet = contact_sheet(options.people, options.seed, tuple(options.size))
    # 256 colours halve the file. Without k-means, the many greys leave too few entries for the colours of the clothes.
    sheet.quantize(256, Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
