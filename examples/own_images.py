"""Finds people in a folder of one's own images, and exchanges how two of them look, with the model that comes along.

    python examples/own_images.py                        # draws the folder people and query.png first
    python examples/own_images.py PEOPLE QUERY [RUN]     # your own folder, infrared image and run

It prints the images of the folder that are nearest to the query, and writes swapped.png: the person of the query in the
pose and place of the first of them.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import rgbir_jax
from rgbir_jax.synthetic import SYSU_CAMERAS, Identity, Pose, draw

PEOPLE = 12
RGB, INFRARED = SYSU_CAMERAS[0], SYSU_CAMERAS[2]


def main(people="people", query="query.png", run="drawn"):
    model = rgbir_jax.load(run)
    gallery = model.features(people)  # a folder, a file, a pattern, a list, arrays or Pillow images
    ranking = rgbir_jax.rank(model.features(query, modality="ir"), gallery, top=5)
    print(ranking)
    model.swap(appearance=query, structure=ranking.paths[0][0]).save("swapped.png")


def draw_people():
    """Writes a picture of each person into the folder `people`, and an infrared one of the third as query.png."""
    Path("people").mkdir(exist_ok=True)
    for number in range(PEOPLE):
        Image.fromarray(picture(number, RGB)).save(f"people/{number:02d}.png")
    Image.fromarray(picture(2, INFRARED)).save("query.png")


def picture(number, camera):
    identity = Identity.random(np.random.default_rng([3, number]))
    return draw(identity, Pose.random(np.random.default_rng([4, number, camera.number])), camera, number)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        draw_people()
    main(*sys.argv[1:])
