"""Random features to score: as many as SYSU-MM01 has, or any number."""

import numpy as np
from jaxtyping import Bool, Float

from rgbir_jax.datasets.records import Records
from rgbir_jax.datasets.sysu_lists import TRIALS, Permutations
from rgbir_jax.datasets.sysu_mm01 import modality_of
from rgbir_jax.evaluation import metrics

SIZE = 512  # length of a feature
# By camera: the number of images of SYSU-MM01's 96 test identities, and how many of these the camera saw.
TEST_IMAGES = {1: (1374, 56), 2: (1565, 56), 3: (1883, 96), 4: (1918, 94), 5: (1918, 95), 6: (1920, 96)}


def sysu_sized() -> tuple[Float[np.ndarray, "n d"], Records, Permutations]:
    """Draws the test images of SYSU-MM01: features around one centre per identity, their table, and permutations."""
    generator = np.random.default_rng(0)
    person_id, camera, index, permutations = [], [], [], {}
    for number, (images, people) in TEST_IMAGES.items():
        seen = np.sort(generator.permutation(96)[:people]) + 1
        for person, share in zip(seen.tolist(), np.array_split(np.arange(images), people), strict=True):
            person_id += [person] * len(share)
            camera += [number] * len(share)
            index += range(1, len(share) + 1)
            draws = [generator.permutation(len(share)) + 1 for _ in range(TRIALS)]
            permutations[number, person] = np.array(draws)
    labels = zip(camera, person_id, index, strict=True)
    person_id, camera, index = (np.array(column, np.int32) for column in (person_id, camera, index))
    records = Records(
        path=np.array([f"cam{number}/{person:04d}/{image:04d}.jpg" for number, person, image in labels]),
        person_id=person_id,
        camera=camera,
        index=index,
        modality=modality_of(camera),
        split=np.full(len(camera), "test"),
    )
    centres = generator.normal(size=(97, SIZE))
    features = centres[person_id] + 4 * generator.normal(size=(len(person_id), SIZE))
    return features.astype(np.float32), records, permutations


def random_images(generator: np.random.Generator, images: int, people: int, cameras: int = 6) -> metrics.Images:
    return metrics.Images(
        generator.normal(size=(images, SIZE)),
        generator.integers(0, people, images),
        generator.integers(0, cameras, images),
    )


def same_person_and_camera(probe: metrics.Images, gallery: metrics.Images) -> Bool[np.ndarray, "p g"]:
    """Hides the images of a probe's person from the probe's own camera."""
    return (probe.person_id[:, None] == gallery.person_id) & (probe.camera[:, None] == gallery.camera)
