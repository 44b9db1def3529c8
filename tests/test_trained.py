"""The model that comes with the package, on people whom it has never seen."""

import numpy as np
import pytest
from PIL import Image

import rgbir_jax
from rgbir_jax.data.augment import normalise
from rgbir_jax.run import INCLUDED, included
from rgbir_jax.synthetic import SYSU_CAMERAS, Identity, Pose, draw

PEOPLE = 12
RGB_CAMERAS, IR_CAMERAS = ([camera for camera in SYSU_CAMERAS if camera.infrared == kind] for kind in (False, True))


@pytest.fixture(scope="module")
def model():
    return rgbir_jax.load("drawn")


@pytest.fixture(scope="module")
def picture(model):
    """Returns a function that draws a person in the pose of a moment: uint8 [height, width, 3]."""
    height, width = model.facts.image_size
    people = [Identity.random(np.random.default_rng([7, person])) for person in range(PEOPLE)]

    def draw_one(person, camera, moment):
        pose = Pose.random(np.random.default_rng([8, moment]))
        image = Image.fromarray(draw(people[person], pose, camera, seed=moment))
        return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))

    return draw_one


def first_is_right(queries, gallery):
    nearest = np.argmax(queries @ gallery.T, axis=1)
    return np.mean(nearest == np.arange(len(queries)))


def test_it_is_small_and_says_what_it_is():
    assert included() == ("drawn",)
    files = {path.name: path for path in (INCLUDED / "drawn").iterdir()}
    assert sorted(files) == ["README.md", "config.json", "run.json", "thresholds.json", "weights.safetensors"]
    assert sum(path.stat().st_size for path in files.values()) <= 3_000_000
    card = files["README.md"].read_text()
    for heading in ("## What it is for", "## What it must not be used for", "## What it does not do well"):
        assert heading in card
    for name in ("config.json", "run.json", "thresholds.json"):
        assert "/home" not in files[name].read_text()
        assert '"/' not in files[name].read_text()


def test_it_recognises_people(model, picture):
    """Chance is a twelfth."""
    cameras = (*RGB_CAMERAS, *IR_CAMERAS)
    images = [picture(person, camera, 100 * camera.number + person) for camera in cameras for person in range(PEOPLE)]
    infrared = np.repeat([int(camera.infrared) for camera in cameras], PEOPLE)
    features = model.features(np.stack(images), infrared).reshape(len(cameras), PEOPLE, -1)
    day, night = features[: len(RGB_CAMERAS)], features[len(RGB_CAMERAS) :]
    assert first_is_right(day[0], day[2]) >= 0.5
    assert np.mean([first_is_right(queries, gallery) for queries in night for gallery in day]) >= 3 / PEOPLE
    distance = np.linalg.norm(night[0][:, None] - day[0], axis=2)
    of_two = distance[~np.eye(PEOPLE, dtype=bool)]
    assert np.mean(of_two <= model.threshold(0.01)) < 0.1 < np.mean(of_two <= model.threshold(0.5))


def test_swapped_people_are_nearer_to_the_truth_than_those_of_either_original(model, picture):
    """The truth is drawn: the person of the appearance, in the pose and before the camera of the structure.

    Only pixels count at which the two persons differ: all others are right in a copy of the structure image.
    """
    camera, other = RGB_CAMERAS[0], RGB_CAMERAS[2]
    pairs = [(i, (i + shift) % PEOPLE) for i in range(PEOPLE) for shift in (1, 5)]
    structure = np.stack([picture(i, camera, i) for i, _ in pairs])
    appearance = np.stack([picture(j, other, 50 + j) for _, j in pairs])
    truth = np.stack([picture(j, camera, i) for i, j in pairs])
    swapped = model.swap(structure, appearance)
    person = (truth != structure).any(axis=3)

    def error(images):
        return float(np.abs(normalise(images) - normalise(truth))[person].mean())

    mean_image = np.broadcast_to(truth.mean(axis=0).astype(np.uint8), truth.shape)
    for other_image in (structure, appearance, mean_image):
        assert error(swapped) < error(other_image)
