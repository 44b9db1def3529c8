import dataclasses
import itertools

import numpy as np
import pytest
from PIL import Image

from rgbir_jax.synthetic import MARKET_CAMERAS, SYSU_CAMERAS, Identity, Pose, contact_sheet, draw
from rgbir_jax.synthetic.camera import background
from rgbir_jax.synthetic.identity import BAGS, HAIR, HATS, LOWERS, PATTERNS, PRINTS, SLEEVES, Garment, Material
from rgbir_jax.synthetic.picture import _lamp
from rgbir_jax.synthetic.pose import VIEWS

RGB, IR = SYSU_CAMERAS[0], SYSU_CAMERAS[2]
POSE = Pose(phase=0.2, view="front", x=0.5, y=0.97, scale=1.0, swing=0.8, occluder="none", hidden=0.0)


def person(seed=5, **changes) -> Identity:
    return dataclasses.replace(Identity.random(np.random.default_rng(seed)), **changes)


def dyed(colour, infrared) -> Garment:
    """Returns a checked garment in two greys."""
    main, second = (Material((c, c, c), i) for c, i in zip(colour, infrared, strict=True))
    return Garment("checks", main, second, 0.1, "disc")


def without_grain(camera):
    """Returns the camera without grain and blur."""
    return dataclasses.replace(camera, noise=0.0, blur=0.0)


def map_materials(value, change):
    """Returns the identity or garment with every material changed."""
    changes = {}
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if isinstance(inner, Material):
            changes[field.name] = change(inner)
        elif isinstance(inner, Garment):
            changes[field.name] = map_materials(inner, change)
    return dataclasses.replace(value, **changes)


@pytest.mark.parametrize("camera", [RGB, IR])
def test_same_arguments_give_the_same_picture(camera):
    first = draw(person(), POSE, camera, 1)
    np.testing.assert_array_equal(draw(person(), POSE, camera, 1), first)
    for other in (
        draw(person(6), POSE, camera, 1),
        draw(person(), dataclasses.replace(POSE, phase=0.7), camera, 1),
        draw(person(), POSE, dataclasses.replace(camera, place=99), 1),
        draw(person(), POSE, camera, 2),
    ):
        assert (other != first).any()


@pytest.mark.parametrize("size", [(128, 64), (256, 128), (48, 20)])
def test_size_and_channels(size):
    for camera in {*SYSU_CAMERAS, *MARKET_CAMERAS}:
        picture = draw(person(), POSE, camera, 0, size)
        assert picture.shape == (*size, 3)
        grey = (picture == picture[..., :1]).all()
        assert grey == camera.infrared
        assert 20 < picture.mean() < 235
        assert picture.std() > 15


def test_colour_is_invisible_in_infrared_and_the_reverse():
    recoloured = map_materials(person(), lambda m: dataclasses.replace(m, colour=m.colour[::-1]))
    redyed = map_materials(person(), lambda m: dataclasses.replace(m, infrared=1 - m.infrared))
    for identity, sensitive, blind in ((recoloured, RGB, IR), (redyed, IR, RGB)):
        np.testing.assert_array_equal(draw(identity, POSE, blind, 1), draw(person(), POSE, blind, 1))
        assert (draw(identity, POSE, sensitive, 1) != draw(person(), POSE, sensitive, 1)).mean() > 0.1


def test_infrared_is_independent_of_colour():
    """Over 1,500 people all correlations are within four standard errors of zero, also for patterned garments."""
    rng = np.random.default_rng(0)
    people = [Identity.random(rng) for _ in range(1500)]
    weights = np.array((0.3, 0.59, 0.11))
    for name in ("upper", "lower_garment"):
        garments = [getattr(identity, name) for identity in people]
        patterned = [garment for garment in garments if garment.pattern != "plain"]
        for materials in ([g.main for g in garments], [g.main for g in patterned], [g.second for g in patterned]):
            channels = np.array([(*m.colour, weights @ m.colour, m.infrared) for m in materials]).T
            assert (abs(np.corrcoef(channels)[-1, :-1]) < 4 / len(materials) ** 0.5).all()
        visible = np.array([weights @ (np.array(g.second.colour) - g.main.colour) for g in patterned])
        infrared = np.array([g.second.infrared - g.main.infrared for g in patterned])
        assert abs(np.mean(np.sign(visible) == np.sign(infrared)) - 0.5) < 2 / len(patterned) ** 0.5
        assert abs(np.corrcoef(visible, infrared)[0, 1]) < 4 / len(patterned) ** 0.5
        assert abs(np.corrcoef(abs(visible), abs(infrared))[0, 1]) < 4 / len(patterned) ** 0.5
        # The pattern is visible in both.
        assert abs(visible).min() >= 0.2 - 1e-6
        assert abs(infrared).min() >= 0.3


VARIANTS = {
    "hair": [person(hair=hair, hat="none") for hair in HAIR],
    "hat": [person(hat=hat) for hat in dict.fromkeys(HATS)],
    "sleeves": [person(sleeves=sleeves) for sleeves in SLEEVES],
    "lower": [person(lower=lower, skirt=0.2) for lower in dict.fromkeys(LOWERS)],
    "bag": [person(bag=bag) for bag in dict.fromkeys(BAGS)],
    "bag_side": [person(bag="handbag", bag_side=side) for side in (-1, 1)],
    "upper": [
        person(bag="none", upper=dataclasses.replace(dyed((0.2, 0.8), (0.8, 0.2)), pattern=pattern))
        for pattern in dict.fromkeys(PATTERNS)
    ],
    "print": [
        person(bag="none", upper=dataclasses.replace(dyed((0.2, 0.8), (0.8, 0.2)), pattern="print", figure=figure))
        for figure in PRINTS
    ],
    "lower_garment": [
        person(
            lower="trousers", hem=0.0, lower_garment=dataclasses.replace(dyed((0.2, 0.8), (0.8, 0.2)), pattern=pattern)
        )
        for pattern in dict.fromkeys(PATTERNS[:-1])
    ],
    "height": [person(height=height) for height in (0.76, 0.95)],
    "build": [person(build=build) for build in (0.72, 1.4)],
}


@pytest.mark.parametrize("factor", VARIANTS)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("camera", [RGB, IR])
def test_every_factor_of_identity_is_visible_in_every_view(factor, view, camera):
    pictures = [draw(identity, dataclasses.replace(POSE, view=view), camera, 1) for identity in VARIANTS[factor]]
    for first, second in itertools.combinations(pictures, 2):
        assert (abs(first.astype(int) - second).max(axis=2) > 12).sum() >= 8


@pytest.mark.parametrize("camera", [RGB, IR])
@pytest.mark.parametrize("hair", HAIR)
def test_views_differ(camera, hair):
    identity = person(hair=hair, bag="none", hat="none")
    pictures = [draw(identity, dataclasses.replace(POSE, view=view), without_grain(camera), 1) for view in VIEWS]
    for first, second in itertools.combinations(pictures, 2):
        assert (abs(first.astype(int) - second).max(axis=2) > 12).sum() >= 4


def test_the_body_moves_with_the_pose():
    def centre(**changes):
        """Returns the centre (y, x) and the area of the body in pixels."""
        identity = map_materials(person(bag="none"), lambda m: dataclasses.replace(m, infrared=1.0))
        picture = draw(identity, dataclasses.replace(POSE, **changes), without_grain(IR), 1)[..., 0]
        empty = draw(identity, dataclasses.replace(POSE, y=-1.0), without_grain(IR), 1)[..., 0]
        body = picture > np.maximum(empty, 120)
        return np.argwhere(body).mean(axis=0), body.sum()

    (y, x), area = centre()
    assert centre(x=0.58)[0][1] - x == pytest.approx(0.08 * 64, abs=1)
    assert y - centre(y=0.9)[0][0] == pytest.approx(0.07 * 128, abs=1.5)
    assert centre(scale=0.8)[1] == pytest.approx(0.64 * area, rel=0.1)


@pytest.mark.parametrize("camera", [without_grain(RGB), without_grain(IR)])
@pytest.mark.parametrize("side", ["left", "right", "bottom"])
def test_an_occluder_hides_the_person_behind_it(camera, side):
    pose = dataclasses.replace(POSE, occluder=side, hidden=0.5)
    first, second = draw(person(5), pose, camera, 1), draw(person(6), pose, camera, 1)
    hidden = {"left": np.s_[:, :28], "right": np.s_[:, -28:], "bottom": np.s_[-60:]}[side]
    visible = {"left": np.s_[:, 34:], "right": np.s_[:, :-34], "bottom": np.s_[:-66]}[side]
    np.testing.assert_array_equal(first[hidden], second[hidden])
    assert (first[visible] != second[visible]).any()


def test_only_cameras_2_and_3_share_a_place():
    places = {camera.number: camera.place for camera in SYSU_CAMERAS}
    assert places[2] == places[3]
    assert len(set(places.values())) == 5
    assert [camera.number for camera in SYSU_CAMERAS if camera.infrared] == [3, 6]
    assert sorted(camera.number for camera in MARKET_CAMERAS) == [1, 2, 3, 4, 5, 6]
    assert len({camera.place for camera in MARKET_CAMERAS}) == 6


def test_a_place_has_the_same_shapes_in_both_lights():
    place = background(22, 128, 64)
    assert place.shape == (128, 96, 4)
    edges = np.abs(np.diff(place, axis=0)) > 0
    visible, infrared = edges[..., :3].any(axis=2), edges[..., 3]
    assert (visible & infrared).sum() > 0.7 * (visible | infrared).sum()
    other = (np.abs(np.diff(background(44, 128, 64), axis=0)) > 0).any(axis=2)
    assert (visible & other).sum() < 0.5 * (visible | other).sum()


def test_the_lamp_falls_off():
    wall = _lamp(POSE, np.zeros((128, 64), np.uint8))[..., 0]
    body = _lamp(POSE, np.ones((128, 64), np.uint8))[..., 0]
    assert (body >= wall).all()
    assert body[50, 32] > 1.5 * wall[50, 32]  # the wall is farther away
    assert wall[0, 0] < wall[0, 32]
    assert body[0, 0] < 0.7 * body.max()


def test_unknown_patterns_and_prints_are_named():
    garment = dyed((0.2, 0.8), (0.8, 0.2))
    with pytest.raises(ValueError, match='pattern "dots" is unknown'):
        draw(person(upper=dataclasses.replace(garment, pattern="dots")), POSE, RGB, 1)
    with pytest.raises(ValueError, match='print "star" is unknown'):
        draw(person(upper=dataclasses.replace(garment, pattern="print", figure="star")), POSE, RGB, 1)


def test_contact_sheet(tmp_path):
    path = tmp_path / "docs" / "people.png"
    contact_sheet.main(["--out", str(path), "--people", "3", "--size", "64", "32"])
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert sheet.shape == (4 * 67 - 3, 3 * 35 - 3, 3)
    colourful = np.ptp(sheet, axis=2) > 40
    assert colourful[: 2 * 67].any(axis=1).mean() > 0.8
    assert not colourful[2 * 67 :].any()
