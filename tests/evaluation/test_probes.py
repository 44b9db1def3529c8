"""Probes of codes that are known to hold a factor, or nothing."""

import numpy as np
import pytest

from rgbir_jax.datasets.sysu_mm01 import SYSU_MM01
from rgbir_jax.evaluation.dci import dci
from rgbir_jax.evaluation.factors import Factor, drawn_factors, independent, label_factors, new_people
from rgbir_jax.evaluation.probes import folds, position_means, principal_components, probes
from rgbir_jax.evaluation.spaces import TABLE_1, table_1
from rgbir_jax.synthetic import open_drawn, sysu_plan, write

PEOPLE, IMAGES = 24, 12
N = PEOPLE * IMAGES
PERSON = np.repeat(np.arange(PEOPLE), IMAGES)
RNG = np.random.default_rng(0)
EVERYWHERE = np.ones(N, bool)


def one_hot(kinds):
    return np.eye(kinds.max() + 1)[kinds]


def of_person(values):
    return values[PERSON]


VIEW = RNG.integers(0, 4, N)
HAT = of_person(np.arange(PEOPLE) % 3)
COLOUR = of_person(RNG.uniform(size=(PEOPLE, 3)))
POSITION = RNG.normal(size=(N, 1))
FACTORS = {
    "view": Factor(VIEW, EVERYWHERE),
    "hat": Factor(HAT, EVERYWHERE),
    "colour": Factor(COLOUR, EVERYWHERE),
    "x": Factor(POSITION, EVERYWHERE),
    "person": Factor(PERSON, EVERYWHERE, of_person=True),
}
CHANCE = {"view": 1 / 4, "hat": 1 / 3, "colour": 0, "x": 0, "person": 1 / PEOPLE}
CODES = {
    "a": np.concatenate([one_hot(HAT), COLOUR, 1e-3 * RNG.normal(size=(N, 2))], axis=1),
    "s": np.concatenate([one_hot(VIEW), POSITION], axis=1),
}


def test_a_code_that_holds_a_factor_scores_1_on_it_and_chance_on_the_others():
    found = probes(CODES, FACTORS, PERSON)
    for code, held in (("a", ("hat", "colour", "person")), ("s", ("view", "x"))):
        for name, scores in found[code].items():
            assert scores["chance"] == pytest.approx(CHANCE[name])
            if name in held:
                assert scores["score"] > 0.97
                assert scores["mlp"] > 0.85
            else:
                assert scores["score"] < CHANCE[name] + 0.15
                assert scores["score"] > CHANCE[name] - 0.3
                assert scores["mlp"] < CHANCE[name] + 0.15


def test_shuffled_codes_score_chance():
    shuffled = {"a": CODES["a"][RNG.permutation(N)]}
    for name, scores in probes(shuffled, FACTORS, PERSON)["a"].items():
        for probe in ("score", "mlp"):
            below = 0.15 if FACTORS[name].is_class else 0.5  # what was learnt may hold for the training persons only
            assert CHANCE[name] - below < scores[probe] < CHANCE[name] + 0.12


def test_a_constant_code_scores_what_a_constant_prediction_does():
    for name, scores in probes({"constant": np.full((N, 7), 0.1)}, FACTORS, PERSON)["constant"].items():
        if FACTORS[name].is_class:
            assert scores["score"] == pytest.approx(CHANCE[name])
            assert scores["mlp"] == pytest.approx(CHANCE[name], abs=0.05)
        else:
            assert -0.4 < scores["score"] <= 0.01


def test_only_images_that_show_a_factor_count():
    shown = np.arange(N) % 2 == 0
    values = POSITION.copy()
    values[~shown] = 1e6
    scores = probes({"s": POSITION}, {"x": Factor(values, shown)}, PERSON)["s"]["x"]
    assert scores["score"] > 0.97


def test_what_does_not_vary_or_is_rare_is_left_out():
    rare = Factor(POSITION, PERSON < 5)
    constant = Factor(np.zeros(N, int), EVERYWHERE)
    assert probes({"s": POSITION}, {"rare": rare, "constant": constant}, PERSON) == {"s": {}}


def test_a_probe_is_scored_on_persons_that_it_has_not_seen():
    """A code of the person only says nothing about the attributes of other persons."""
    found = probes({"code": one_hot(PERSON)}, FACTORS, PERSON)["code"]
    assert found["person"]["score"] > 0.97
    assert found["hat"]["score"] < 1 / 3 + 0.15
    assert found["colour"]["score"] < 0.1


def test_folds():
    fold = folds(PERSON)
    assert all(len(set(fold[person == PERSON])) == 1 for person in range(PEOPLE))
    np.testing.assert_array_equal(np.bincount(fold), N // 4)
    spread = folds(PERSON, split_persons=True)
    assert all((np.bincount(spread[person == PERSON]) == IMAGES // 4).all() for person in range(PEOPLE))


def test_principal_components_keep_distances_and_ignore_units():
    code = RNG.normal(size=(50, 6))
    first, second = principal_components(code), principal_components(100 * code + 7)
    assert (first**2).mean() == pytest.approx(1)
    standard = (code - code.mean(0)) / code.std(0)
    np.testing.assert_allclose(first @ first.T, standard @ standard.T, atol=1e-8)
    np.testing.assert_allclose(second @ second.T, first @ first.T, atol=1e-8)


def test_position_means():
    s = RNG.normal(size=(3, 8, 4, 5))
    means = position_means(s, rows=4, columns=2)
    assert means.shape == (3, 40)
    np.testing.assert_allclose(means[:, :5], s[:, :2, :2].mean(axis=(1, 2)))
    np.testing.assert_allclose(means[:, -5:], s[:, -2:, -2:].mean(axis=(1, 2)))
    # A code smaller than the grid keeps all of its positions.
    np.testing.assert_array_equal(position_means(s, rows=16, columns=8), s.reshape(3, -1))


def test_dci_of_codes_that_are_disentangled():
    factors = {name: FACTORS[name] for name in ("view", "hat", "colour", "x")}
    scores = dci(CODES, factors, PERSON)
    assert scores["disentanglement"] > 0.85
    assert scores["informativeness"] > 0.9
    assert scores["codes"]["completeness"] > 0.95
    for name, (a, s) in {"view": (0, 1), "hat": (1, 0), "colour": (1, 0), "x": (0, 1)}.items():
        assert scores["factors"][name]["share"] == pytest.approx({"a": a, "s": s}, abs=0.03)
        assert scores["factors"][name]["informativeness"] > 0.9
    assert scores["factors"]["x"]["completeness"] > scores["factors"]["view"]["completeness"]
    assert scores["codes"]["importance"] == pytest.approx({"a": 2, "s": 2}, abs=0.1)


def test_dci_of_codes_that_are_mixed():
    both = np.concatenate(list(CODES.values()), axis=1)
    mixed = both @ np.linalg.qr(RNG.normal(size=(both.shape[1],) * 2))[0]
    factors = {name: FACTORS[name] for name in ("view", "hat", "colour", "x")}
    scores = dci({"a": mixed, "s": mixed}, factors, PERSON)
    assert scores["informativeness"] > 0.9
    assert scores["disentanglement"] < 0.4
    assert scores["codes"]["completeness"] == pytest.approx(0, abs=1e-6)
    assert scores["factors"]["x"]["share"] == pytest.approx({"a": 0.5, "s": 0.5})


def test_dci_of_codes_that_hold_nothing():
    scores = dci({"a": np.ones((N, 3)), "s": np.ones((N, 2))}, {"view": FACTORS["view"], "x": FACTORS["x"]}, PERSON)
    assert scores["informativeness"] == 0
    assert scores["disentanglement"] == 0
    assert scores["codes"]["importance"] == {"a": 0, "s": 0}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Draws twelve test identities: (dataset, table)."""
    root = tmp_path_factory.mktemp("people") / "tree"
    write(sysu_plan(0, 0, 12, 2, 0), root, seed=0, size=(32, 16), arguments={}, workers=1)
    return open_drawn(root), SYSU_MM01.read(root)


def test_factors_of_drawn_images(people):
    drawn, records = people
    factors = drawn_factors(drawn, records)
    rows = [drawn.factors[path] for path in records.path]
    bag = np.array([row["identity.bag"] for row in rows])
    rgb, infrared = records.modality == 0, records.modality == 1
    np.testing.assert_array_equal(factors["upper_colour"].shown, rgb)
    np.testing.assert_array_equal(factors["upper_infrared"].shown, infrared)
    np.testing.assert_array_equal(factors["bag_colour"].shown, rgb & (bag != "none"))
    assert factors["bag"].shown.all()
    assert len(np.unique(factors["bag"].values)) == len(set(bag))
    green = [float(row["identity.upper.main.colour.g"]) for row in rows]
    np.testing.assert_allclose(factors["upper_colour"].values[:, 1], green)
    np.testing.assert_allclose((factors["phase"].values ** 2).sum(axis=1), 1)
    assert len(np.unique(factors["place"].values)) == 5  # cameras 2 and 3 share one
    assert "skin_infrared" not in factors
    assert factors.keys() - independent(factors).keys() == {"person", "camera"}
    assert [name for name, factor in factors.items() if factor.of_person] == ["person"]


def test_new_people(people):
    drawn, _ = people
    images, records, factors = new_people(drawn, 9, (24, 12))
    assert (images.shape, images.dtype) == ((54, 24, 12, 3), np.uint8)
    assert len(np.unique(records.person_id)) == 9
    grey = (images == images[..., :1]).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(grey, records.modality == 1)
    np.testing.assert_array_equal(np.unique(records.camera), range(1, 7))
    assert factors.keys() == drawn_factors(*people).keys()
    brightness = images.mean(axis=(1, 2, 3), keepdims=True).reshape(-1, 1)
    found = probes(
        {"brightness": brightness, "modality": records.modality[:, None].astype(float)}, factors, records.person_id
    )
    assert found["modality"]["modality"]["score"] == 1


def test_labels_are_factors_of_every_dataset(people):
    _, records = people
    factors = label_factors(records)
    assert list(factors) == ["person", "camera", "modality"]
    np.testing.assert_array_equal(factors["modality"].values, records.modality)


def test_table_1_names_factors_of_drawn_images(people):
    factors = drawn_factors(*people)
    for line in TABLE_1:
        assert set(line.factors) <= set(factors)


def test_table_1():
    score = {"chance": 0.25, "mlp": 0.0}
    found = {
        "a": {"hair": {"score": 0.25} | score, "view": {"score": 0.4} | score, "x": {"score": -1.0} | score},
        "s": {"hair": {"score": 1.0} | score, "view": {"score": 0.7} | score, "x": {"score": 0.55} | score},
    }
    pose, hair = table_1(found)
    assert (hair["space"], hair["text"]) == ("structure", "hair")
    assert hair["factors"] == {"hair": {"a": 0.25, "s": 1.0, "chance": 0.25}}
    assert (hair["a"], hair["s"]) == (0, 1)
    assert pose["text"] == "pose"
    assert pose["a"] == pytest.approx((0.15 / 0.75 + 0) / 2)
    assert pose["s"] == pytest.approx((0.45 / 0.75 + 0.3 / 0.75) / 2)
