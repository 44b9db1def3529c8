"""Swaps whose error is known: an oracle, copies, and recognisers that know everything or nothing."""

import io

import numpy as np
import pytest
from PIL import Image

from rgbir_jax.data.decoding import decode
from rgbir_jax.datasets.market1501 import MARKET1501
from rgbir_jax.datasets.sysu_mm01 import SYSU_MM01
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.counterfactuals import counterfactuals, found_by_recogniser
from rgbir_jax.synthetic import market_plan, open_drawn, write

BLOCKS = ("rgb_rgb", "ir_ir", "rgb_ir", "ir_rgb")
SAME, CROSS = BLOCKS[:2], BLOCKS[2:]
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
COUNTS = {"structures": 4, "appearances": 5}


class Source:
    """The images of a drawn tree in half their size, so that the resizing counts too."""

    field = "image"
    image_size = (32, 16)

    def __init__(self, dataset, root):
        self.records = dataset.read(root)
        self.images = np.stack([decode(root / path, self.image_size) for path in self.records.path])

    def read(self, rows):
        return self.images[rows]

    def stream(self, rows, start):
        raise AssertionError("not used in this test")


@pytest.fixture(scope="module")
def world(drawn):
    """Returns a drawn tree with five test identities: the dataset, its images and the test rows."""
    source = Source(SYSU_MM01, drawn)
    return open_drawn(drawn), source, np.flatnonzero(source.records.split == "test")


def normalised(images):
    return ((images / np.float32(255)) - MEAN) / STD


def pixels(images, modality):
    """Compares images by their pixels."""
    vectors = images.reshape(len(images), -1).astype(np.float64) - 128
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def ignorant(images, modality):
    return np.ones((len(images), 2))


def oracle(world):
    dataset, source, _ = world
    path, modality, person = source.records.path, source.records.modality, source.records.person_id

    def swap(i, j):
        contents = [
            dataset.counterfactual(str(path[a]), int(person[b]), bool(modality[b])) for a, b in zip(i, j, strict=True)
        ]
        pictures = [Image.open(io.BytesIO(content)).convert("RGB") for content in contents]
        return normalised(np.stack([picture.resize((16, 32), Image.Resampling.BICUBIC) for picture in pictures]))

    return swap


def copy_of_i(world):
    return lambda i, j: normalised(world[1].read(i))


def copy_of_j(world):
    return lambda i, j: normalised(world[1].read(j))


@pytest.fixture(scope="module")
def knowing(world):
    """Returns a recogniser that knows who is in every image of the tree and in every true swap."""
    dataset, source, rows = world
    people = sorted({dataset.person(source.records.path[row]) for row in rows})
    known = {source.images[row].tobytes(): dataset.person(source.records.path[row]) for row in rows}
    for row in rows:
        for person in people:
            for infrared in (False, True):
                content = dataset.counterfactual(str(source.records.path[row]), person, infrared)
                known[decode(io.BytesIO(content), source.image_size).tobytes()] = person

    def recognise(images, modality):
        return np.eye(len(people))[[people.index(known[image.tobytes()]) for image in images]]

    return recognise


def test_the_truth_scores_what_is_perfect(world):
    scores = counterfactuals(*world, oracle(world), pixels, **COUNTS)
    assert tuple(scores) == BLOCKS
    for block in scores.values():
        for name in ("swap", "reconstruction"):
            assert block["l1"][name] == pytest.approx(0, abs=1e-6)
            assert block["l1_person"][name] == pytest.approx(0, abs=1e-6)
            assert block["ssim"][name] == pytest.approx(1, abs=1e-6)
        found = block["recogniser"]
        assert (found["rank1_j"], found["rank1_i"], found["rank_j"], found["chance"]) == (1, 0, 1, 0.2)
        assert block["standard_error"]["l1"]["swap"] == pytest.approx(0, abs=1e-6)
        assert 4 * 5 - 4 - 5 < block["pairs"] <= 4 * 5
        for copy in ("image_i", "image_j", "mean"):
            assert block["l1"][copy] > 0.2
            assert block["ssim"][copy] < 0.95
            assert block["standard_error"]["l1"][copy] > 0


def test_a_generator_that_ignores_the_appearance(world):
    scores = counterfactuals(*world, copy_of_i(world), pixels, **COUNTS)
    for name, block in scores.items():
        for measure in ("l1", "l1_person", "ssim"):
            assert block[measure]["swap"] == pytest.approx(block[measure]["image_i"], abs=1e-6)
        assert block["l1"]["reconstruction"] == pytest.approx(0, abs=1e-6)
        found = block["recogniser"]
        assert {key: found[key] for key in found["image_i"]} == pytest.approx(found["image_i"])
        assert found["reconstruction"] == pytest.approx(found["image_i"])
        if name in SAME:
            assert (found["rank1_j"], found["rank1_i"]) == (0, 1)
            # Its background is right and its person is not.
            assert block["l1_person"]["swap"] > 1.5 * block["l1"]["swap"]


def test_a_generator_that_ignores_the_structure(world):
    scores = counterfactuals(*world, copy_of_j(world), pixels, **COUNTS)
    for block in scores.values():
        for measure in ("l1", "l1_person", "ssim"):
            assert block[measure]["swap"] == pytest.approx(block[measure]["image_j"], abs=1e-6)
        found = block["recogniser"]
        assert {key: found[key] for key in found["image_j"]} == pytest.approx(found["image_j"])


def test_a_recogniser_that_knows_everybody(world, knowing):
    for swap, first in ((copy_of_j(world), "j"), (copy_of_i(world), "i")):
        for block in counterfactuals(*world, swap, knowing, **COUNTS).values():
            found = block["recogniser"]
            assert (found["rank1_j"], found["rank1_i"]) == ((1, 0) if first == "j" else (0, 1))
            # The four others are equally far: their ranks are 2 to 5.
            assert (found["rank_j"], found["rank_i"]) == ((1, 3.5) if first == "j" else (3.5, 1))


def test_the_margin_is_what_a_copy_is_worse_by(world):
    for block in counterfactuals(*world, copy_of_j(world), pixels, **COUNTS).values():
        for name in ("image_i", "image_j", "mean"):
            for l1 in ("l1", "l1_person"):
                assert block["margin"][l1][name] == pytest.approx(block[l1][name] - block[l1]["swap"], abs=1e-6)
            assert block["margin"]["ssim"][name] == pytest.approx(block["ssim"]["swap"] - block["ssim"][name], abs=1e-6)
        assert block["standard_error"]["margin"]["l1"]["image_j"] == pytest.approx(0, abs=1e-6)
        assert block["standard_error"]["margin"]["l1"]["mean"] > 0


def test_the_mean_image_is_that_of_the_modality_of_j(world):
    _, source, rows = world

    def swap(i, j):
        modality = source.records.modality
        means = [normalised(source.read(rows[modality[rows] == m])).mean(axis=0) for m in (0, 1)]
        return np.stack([means[m] for m in modality[j]])

    for block in counterfactuals(*world, swap, pixels, **COUNTS).values():
        assert block["l1"]["swap"] == pytest.approx(block["l1"]["mean"], abs=1e-5)
        assert block["ssim"]["swap"] == pytest.approx(block["ssim"]["mean"], abs=1e-5)


def test_a_recogniser_that_knows_nothing_scores_chance(world):
    for block in counterfactuals(*world, oracle(world), ignorant, **COUNTS).values():
        found = block["recogniser"]
        assert found["rank1_j"] == pytest.approx(found["chance"])
        assert found["rank1_i"] == pytest.approx(found["chance"])
        assert found["rank_j"] == 3  # the middle of five


def test_the_seed_chooses_the_pairs(world):
    first, again, other = (counterfactuals(*world, copy_of_j(world), pixels, **COUNTS, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_chosen_images_show_different_persons(world):
    _, source, _ = world
    asked = []

    def swap(i, j):
        asked.append((i, j))
        return normalised(source.read(i))

    counterfactuals(*world, swap, ignorant, structures=5, appearances=7)
    structures = {row for i, _ in asked for row in i.tolist()}
    appearances = {row for i, j in asked if (i != j).any() for row in j.tolist()}
    person, modality = source.records.person_id, source.records.modality
    for m in (0, 1):
        assert len({person[row] for row in structures if modality[row] == m}) == 5
        counts = np.unique([person[row] for row in appearances if modality[row] == m], return_counts=True)[1]
        assert sorted(counts) == [1, 1, 1, 2, 2]


def test_a_tree_of_one_modality_has_one_block(tmp_path):
    write(market_plan(2, 3, 2, 0), tmp_path / "tree", seed=0, size=(64, 32), arguments={}, workers=1)
    source = Source(MARKET1501, tmp_path / "tree")
    world = open_drawn(tmp_path / "tree"), source, np.flatnonzero(source.records.split != "train")
    scores = counterfactuals(*world, copy_of_i(world), pixels, **COUNTS)
    assert list(scores) == ["rgb_rgb"]
    assert scores["rgb_rgb"]["recogniser"]["rank1_i"] == 1
    assert scores["rgb_rgb"]["recogniser"]["chance"] == 1 / 6  # distractors are persons too


def test_one_person_is_too_few(world):
    dataset, source, rows = world
    rows = rows[source.records.person_id[rows] == source.records.person_id[rows[0]]]
    with pytest.raises(UserError, match="swaps need two persons, and the images show 1; add test identities"):
        counterfactuals(dataset, source, rows, copy_of_i(world), pixels)


@pytest.mark.parametrize("first", ["j", "i"])
def test_whom_a_recogniser_finds_in_any_dataset(first, world, knowing):
    """Four images of each modality show four persons: twelve pairs or more, with the same appearances throughout."""
    _, source, rows = world
    person, modality = source.records.person_id, source.records.modality
    pairs = []

    def swap(i, j):
        pairs.extend(zip(i.tolist(), j.tolist(), strict=True))
        return normalised(source.read(j if first == "j" else i))

    blocks = found_by_recogniser(source, rows, swap, knowing, count=4)
    assert set(blocks) == set(BLOCKS)
    for name, block in blocks.items():
        found = block["recogniser"]
        assert (found["rank1_j"], found["rank1_i"]) == ((1, 0) if first == "j" else (0, 1))
        m_i, m_j = (int(part == "ir") for part in name.split("_"))
        of_block = [(i, j) for i, j in pairs if (modality[i], modality[j]) == (m_i, m_j)]
        assert 12 <= len(of_block) == block["pairs"] <= 16
        assert len({j for _, j in of_block}) == 4
        galleries = [[row for row in rows if modality[row] == m_j and row not in pair] for pair in of_block]
        shares = [np.mean(person[gallery] == person[j]) for gallery, (_, j) in zip(galleries, of_block, strict=True)]
        assert found["chance"] == pytest.approx(np.mean(shares))


def test_one_person_is_too_few_for_a_recogniser_too(world, knowing):
    _, source, rows = world
    rows = rows[source.records.person_id[rows] == source.records.person_id[rows[0]]]
    with pytest.raises(UserError, match="swaps need two persons, and the images show 1; add test identities"):
        found_by_recogniser(source, rows, copy_of_i(world), knowing)
