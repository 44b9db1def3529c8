"""A picture of drawn people, a column a person: two RGB cameras above, two infrared cameras below.

python -m rgbir_jax.synthetic.contact_sheet --out docs/drawn_people.png --seed 2
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from rgbir_jax.synthetic import SYSU_CAMERAS, Identity, Pose, draw

_ROWS = (1, 4, 3, 6)  # cameras
_GAP = 3  # pixels between pictures


def contact_sheet(people: int, seed: int, size: tuple[int, int]) -> Image.Image:
    """People before cameras 1, 4, 3 and 6, in another pose in each.

    Args:
        people: how many, from the left.
        seed: of people and poses, not negative.
        size: of each picture, height and width in pixels.
    """
    height, width = (side + _GAP for side in size)
    sheet = Image.new("RGB", (people * width - _GAP, len(_ROWS) * height - _GAP), "white")
    for person in range(people):
        rng = np.random.default_rng([seed, person])
        identity = Identity.random(rng)
        for row, number in enumerate(_ROWS):
            picture = draw(identity, Pose.random(rng), SYSU_CAMERAS[number - 1], int(rng.integers(2**31)), size)
            sheet.paste(Image.fromarray(picture), (person * width, row * height))
    return sheet


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="PNG file to write")
    parser.add_argument("--people", type=int, default=8, help="columns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, nargs=2, default=(160, 80), metavar=("HEIGHT", "WIDTH"), help="a picture's")
    given = parser.parse_args(argv)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    sheet = contact_sheet(given.people, given.seed, tuple(given.size))
    # 256 colours are less than half the bytes; k-means keeps the clothes' own ones beside the many greys.
    sheet.quantize(256, Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE).save(given.out, optimize=True)


if __name__ == "__main__":
    main()
