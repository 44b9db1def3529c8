"""Four drawn people exchange their appearance, with the model that comes with the package.

    python examples/swap.py    # writes swapped.png: rows share a pose and a place, columns a person

No training and no dataset: the people are drawn here, and the model has not seen them.
"""

import numpy as np
from PIL import Image

import rgbir_jax
from rgbir_jax.synthetic import SYSU_CAMERAS, Identity, Pose, draw


def people(size, seed=3):
    """A person before each of two RGB cameras, an infrared one and another RGB one: uint8 [4, height, width, 3]."""
    height, width = size
    rng = np.random.default_rng(seed)
    pictures = [draw(Identity.random(rng), Pose.random(rng), camera, seed) for camera in SYSU_CAMERAS[:4]]
    return np.stack([np.asarray(Image.fromarray(picture).resize((width, height))) for picture in pictures])


def grid(images, swapped):
    """The swapped images, with the originals above and to the left of them."""
    corner = np.full_like(images[0], 255)
    rows = [np.concatenate([corner, *images], axis=1)]
    rows += [np.concatenate([image, *row], axis=1) for image, row in zip(images, swapped, strict=True)]
    return np.concatenate(rows)


def main():
    model = rgbir_jax.load("drawn")
    images = people(model.facts.image_size)
    n = len(images)
    swapped = model.swap(structure=np.repeat(images, n, axis=0), appearance=np.tile(images, (n, 1, 1, 1)))
    picture = Image.fromarray(grid(images, swapped.reshape(n, *images.shape)))
    picture.resize((4 * picture.width, 4 * picture.height), Image.Resampling.NEAREST).save("swapped.png")
    print("swapped.png: rows share a pose and a place, columns a person.")


if __name__ == "__main__":
    main()
