"""Random features to score: at SYSU-MM01's size, or as many as are wanted."""

import numpy as np

from rgbir_jax.data.sysu_lists import TRIALS
from rgbir_jax.evaluation import metrics

SIZE = 512
# Images of SYSU-MM01's 96 test identities by camera, and how many of the identities the camera saw.
TEST_IMAGES = {1: (1374, 56), 2: (1565, 56), 3: (1883, 96), 4: (1918, 94), 5: (1918, 95), 6: (1920, 96)}


def sysu_sized():
    """((features, person_id, camera, index), permutations): SYSU-MM01's counts, each identity around a centre."""
    generator = np.random.default_rng(0)
    person_id, camera, index, permutations = [], [], [], {}
    for cam, (images, people) in TEST_IMAGES.items():
        seen = np.sort(generator.permutation(96)[:people]) + 1
        for person, share in zip(seen.tolist(), np.array_split(np.arange(images), people), strict=True):
            person_id += [person] * len(share)
            camera += [cam] * len(share)
            index += range(1, len(share) + 1)
            draws = [generator.permutation(len(share)) + 1 for _ in range(TRIALS)]
            permutations[cam, person] = np.array(draws)
    person_id, camera, index = (np.array(column) for column in (person_id, camera, index))
    centres = generator.normal(size=(97, SIZE))
    features = centres[person_id] + 4 * generator.normal(size=(len(person_id), SIZE))
    return (features.astype(np.float32), person_id, camera, index), permutations


def random_images(generator: np.random.Generator, images: int, people: int, cameras: int = 6) -> metrics.Images:
    return metrics.Images(
        generator.normal(size=(images, SIZE)),
        generator.integers(0, people, images),
        generator.integers(0, cameras, images),
    )


def same_person_and_camera(probe: metrics.Images, gallery: metrics.Images) -> np.ndarray:
    return (probe.person_id[:, None] == gallery.person_id) & (probe.camera[:, None] == gallery.camera)
