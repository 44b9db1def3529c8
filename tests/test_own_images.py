"""Features, ranked lists, swaps and structures of images that a user has as files, arrays or Pillow images."""

import dataclasses
import io
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import rgbir_jax
from rgbir_jax.data.augment import normalise
from rgbir_jax.data.decoding import decode
from rgbir_jax.errors import UserError
from tests.own_people import NIGHT, OTHER_DAY, person, readme_program, write_people

PEOPLE = range(6)


@pytest.fixture(scope="module")
def model():
    return rgbir_jax.load("drawn")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Returns a folder of six people by day, one of them in a subfolder, and something else."""
    folder = tmp_path_factory.mktemp("own") / "people"
    write_people(folder, PEOPLE[:5])
    write_people(folder / "sub", PEOPLE[5:])
    (folder / "notes.txt").touch()
    (folder / ".hidden.png").touch()
    return folder


@pytest.fixture(scope="module")
def arrays():
    return np.stack([person(number) for number in PEOPLE])


@pytest.fixture(scope="module")
def features(model, arrays):
    return np.asarray(model.features(arrays, "rgb"))


def test_every_form_of_the_same_images_has_the_same_features(model, people, arrays, features, capsys, monkeypatch):
    files = [*(people / f"{number:02d}.png" for number in PEOPLE[:5]), people / "sub/05.png"]
    pictures = [Image.fromarray(array) for array in arrays]
    for form in (
        people,
        str(people) + "/",
        files,
        (str(file) for file in files),
        f"{people}/**/*.png",
        arrays,
        list(arrays),
        jnp.asarray(arrays),
        pictures,
        [files[0], pictures[1], arrays[2:4], f"{people}/0[4].png", people / "sub"],
    ):
        found = model.features(form, modality="rgb")
        assert found.shape == (6, 128)
        np.testing.assert_allclose(found, features, atol=1e-6)
    assert f"{people}: files that are no images, left out: 1 (notes.txt)" in capsys.readouterr().err
    monkeypatch.setenv("HOME", str(people.parent))
    assert model.features("~/people/sub/05.png", "rgb").paths == (f"{people}/sub/05.png",)


def test_features_know_their_images(model, people, arrays):
    found = model.features(people, "rgb")
    assert found.paths == (*(f"{people}/{number:02d}.png" for number in PEOPLE[:5]), f"{people}/sub/05.png")
    assert found.skipped == ()
    assert found.run == model.fingerprint
    mixed = model.features([arrays[0], people / "01.png", Image.open(people / "02.png"), arrays[3]], "rgb")
    assert mixed.paths == ("image 1", f"{people}/01.png", f"{people}/02.png", "image 4")
    assert (found @ found.T).paths == ()


def test_chosen_images_keep_what_is_known_of_them(model, people):
    found = model.features(people, [0, 1, 0, 1, 0, 1])
    for rows in (slice(2), slice(None, None, -1), [3, 0, 3], np.array([], int), found.modality == 1, [True] * 6, ...):
        chosen = found[rows]
        places = np.arange(6)[rows].tolist()
        np.testing.assert_array_equal(chosen, np.asarray(found)[rows])
        assert chosen.paths == tuple(found.paths[place] for place in places)
        assert chosen.modality.tolist() == found.modality[places].tolist()
        assert chosen.run == model.fingerprint
        assert found[rows, :].paths == chosen.paths
    np.testing.assert_array_equal(found[1:][::2].modality, [1, 1, 1])
    assert rgbir_jax.rank(found[4:], found[::-1], 1).paths == [[found.paths[4]], [found.paths[5]]]
    assert found[:0][:0].run == model.fingerprint
    for other in (found[2], found[:, :64], found[[0, 1], [0, 1]], found[None], found[np.asarray(found) > 0], found.T):
        assert (other.paths, other.modality, other.run) == ((), None, "")
    assert isinstance(found[2, 3], np.float32)
    other = found[:1]
    other.run = "12345678"
    with pytest.raises(UserError, match="have features of two runs"):
        rgbir_jax.rank(other, found[1:])


def test_any_number_of_images(model, arrays, features):
    many = np.tile(arrays, (50, 1, 1, 1))
    found = model.features(many, "rgb")
    np.testing.assert_allclose(found, np.tile(features, (50, 1)), atol=1e-5)
    assert len(found.paths) == len(found.modality) == 300
    np.testing.assert_allclose(model.features(arrays[2], "rgb"), features[2:3], atol=1e-5)
    assert model.features([], "rgb").shape == model.features(arrays[:0]).shape == (0, 128)


def test_images_of_other_sizes_and_kinds_are_read_as_datasets_are(model, tmp_path):
    large = person(1, size=(200, 90))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(large[::-1, ::-1]).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(large[..., 0].astype(np.uint16) * 257).save(tmp_path / "16.png")
    expected = model.features(np.stack([decode(tmp_path / name, (64, 32)) for name in ("turned.png", "16.png")]), "rgb")
    for form in (
        [tmp_path / "turned.png", tmp_path / "16.png"],
        [Image.open(tmp_path / "turned.png"), Image.open(tmp_path / "16.png")],
        [large, large[..., 0]],
    ):
        np.testing.assert_allclose(model.features(form, "rgb"), expected, atol=1e-6)


def test_the_modality_is_given_or_guessed_from_equal_channels(model, tmp_path, capsys):
    paths = [*write_people(tmp_path / "day", [0, 1]), *write_people(tmp_path / "night", [0], NIGHT)]
    assert model.features(paths).modality.tolist() == [0, 0, 1]
    guessed = capsys.readouterr().err
    assert "The modality was guessed: 1 images with three equal channels are taken as IR, 2 others as RGB." in guessed
    for modality, numbers in (
        ("ir", [1, 1, 1]),
        (0, [0, 0, 0]),
        (["rgb", "ir", "rgb"], [0, 1, 0]),
        (np.array([1, 0, 0]), [1, 0, 0]),
        (np.int64(1), [1, 1, 1]),
        ((number for number in (0, 0, 1)), [0, 0, 1]),
    ):
        assert model.features(paths, modality=modality).modality.tolist() == numbers
    assert "guessed" not in capsys.readouterr().err
    for modality, message in (
        ("night", 'a modality is night; it must be 0 .RGB. or 1 .IR., or "rgb" or "ir"'),
        (2, "a modality is 2; it must be"),
        ([0, 0.5, 1], "a modality is 0.5; it must be"),
        ([0, 1], "there are 3 images and the modalities are 2; give"),
    ):
        with pytest.raises(UserError, match=message):
            model.features(paths, modality=modality)


def test_what_cannot_be_read_is_named_counted_and_left_out(model, people, features, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "z.jpg").symlink_to(tmp_path / "nowhere.jpg")
    write_people(tmp_path, [3])
    found = model.features([people / "00.png", tmp_path, people / "01.png"], [0, 0, 1, 0, 0])
    np.testing.assert_allclose(found, features[[0, 3, 1]], atol=1e-5)
    assert [os.path.basename(path) for path in found.paths] == ["00.png", "03.png", "01.png"]
    assert found.modality.tolist() == [0, 0, 0]
    err = capsys.readouterr().err
    for sentence in (*found.skipped, "2 of 5 images cannot be read and were left out."):
        assert sentence in err
    assert f"{tmp_path}/a.png cannot be decoded" in found.skipped[0]
    assert f"{tmp_path}/z.jpg cannot be decoded" in found.skipped[1]
    with pytest.raises(UserError, match=r"none of the 1 images can be read; the first: .*a.png cannot be decoded"):
        model.features(tmp_path / "a.png")
    assert "guessed" not in capsys.readouterr().err


def test_what_is_no_image_is_refused(model, tmp_path):
    (tmp_path / "notes.txt").touch()
    for given, message in (
        (tmp_path / "absent.png", r"there is no file or folder .*absent.png; correct the path"),
        (tmp_path, "has no images, and its subfolders have none; name the folder that they are in"),
        (f"{tmp_path}/*.*", r"matches no image \(1 other files and folders\); correct the pattern"),
        (np.zeros((2, 64, 32, 3)), "the images are float64 2x64x32x3; give uint8"),
        (np.zeros((64, 32, 4), np.uint8), "the images are uint8 64x32x4; give uint8"),
        ([3], "3 is no image; give paths, folders, patterns"),
        (np.zeros((0, 32, 3), np.uint8), "the images are uint8 0x32x3; give uint8"),
        (np.zeros((2, 64, 0, 3), np.uint8), "the images are uint8 2x64x0x3; give uint8"),
        (np.zeros((0, 0), np.uint8), "the images are uint8 0x0; give uint8"),
        (Image.new("RGB", (0, 9)), "has no pixels"),
        (b"\x89PNG" + bytes(1000), r"^b'.{1,40}' is no image; give paths"),
        (io.BytesIO(b"x"), "is no image; give paths"),
    ):
        with pytest.raises(UserError, match=message):
            model.features(given)


def test_a_file_of_features(model, people, tmp_path):
    found = model.features(people, "rgb")
    found.save(tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as kept:
        np.testing.assert_array_equal(kept["feature"], found)
        assert kept["feature"].dtype == np.float32
        assert tuple(kept["path"]) == found.paths
        assert kept["modality"].tolist() == [0] * 6
        assert str(kept["run"]) == model.fingerprint
    with pytest.raises(UserError, match=r"absent/f.npz cannot be written"):
        found.save(tmp_path / "absent/f.npz")
    read = rgbir_jax.Features.load(tmp_path / "f.npz")
    np.testing.assert_array_equal(read, found)
    assert (read.paths, read.modality.tolist(), read.run) == (found.paths, [0] * 6, model.fingerprint)
    assert str(rgbir_jax.rank(read, found, 2)) == str(rgbir_jax.rank(found, found, 2))
    model.features([]).save(tmp_path / "none.npz")
    assert rgbir_jax.Features.load(tmp_path / "none.npz").shape == (0, 128)


def test_what_is_no_file_of_features_is_refused(tmp_path):
    columns = {"feature": np.eye(3, dtype=np.float32), "path": np.array(["a", "b", "c"]), "modality": np.zeros(3, int)}
    columns |= {"run": np.array("12345678")}
    path = tmp_path / "f.npz"
    for change, message in (
        ({"feature": np.eye(3)}, "feature is float64 .3, 3. and must be finite float32"),
        ({"feature": np.full((3, 2), np.nan, np.float32)}, "and must be finite"),
        ({"path": np.array(["a"])}, "path must have 3 texts"),
        ({"path": np.arange(3)}, "path must have 3 texts"),
        ({"modality": np.full(3, 2)}, "modality must have 3 numbers, 0 or 1"),
        ({"modality": np.array(["a", "b", "c"])}, "modality must have 3 numbers, 0 or 1"),
        ({"run": np.zeros(2)}, "run must be a text"),
        ({"path": None}, "it has no array path"),
    ):
        np.savez(path, **{name: values for name, values in (columns | change).items() if values is not None})
        with pytest.raises(UserError, match=f"f.npz is no file of features: .*{message}.*; write it again with"):
            rgbir_jax.Features.load(path)
    np.savez(path, **columns)
    for content in (path.read_bytes()[:-30], b"", b"no array"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"f.npz is not an .npz file of plain numbers; write it again with"):
            rgbir_jax.Features.load(path)
    with pytest.raises(UserError, match=r"there is no file .*absent.npz; rgbir-features writes"):
        rgbir_jax.Features.load(tmp_path / "absent.npz")


def test_the_fingerprint_is_that_of_what_the_features_depend_on(model):
    assert model.fingerprint == rgbir_jax.load("drawn").fingerprint
    state = model.states["image"]
    other = dataclasses.replace(state, params=jax.tree.map(lambda x: x + 1, state.params))
    assert dataclasses.replace(model, states={"image": other}).fingerprint != model.fingerprint
    later = dataclasses.replace(state, step=np.int32(7))
    assert dataclasses.replace(model, states={"image": later}).fingerprint == model.fingerprint


def test_rank_lists_the_nearest_first(model, people, features):
    gallery = model.features(people, "rgb")
    query = model.features(np.stack([person(4, OTHER_DAY), person(2)]), "rgb")
    ranking = rgbir_jax.rank(query, gallery, top=4)
    distance = np.linalg.norm(np.asarray(query)[:, None] - features, axis=2)
    np.testing.assert_array_equal(ranking.order, np.argsort(distance, axis=1)[:, :4])
    np.testing.assert_allclose(ranking.distance, np.sort(distance, axis=1)[:, :4], atol=1e-4)
    assert ranking.paths[1][0] == f"{people}/02.png"
    lines = str(ranking).splitlines()
    assert lines[0] == "image 1 (RGB)"
    assert lines[6] == f"    1  0.000  RGB  {people}/02.png"
    assert rgbir_jax.rank(query, gallery).order.shape == (2, 6)
    plain = rgbir_jax.rank(np.asarray(query), np.asarray(gallery), top=1)
    assert str(plain).splitlines()[2:] == ["image 2", "    1  0.000       image 3"]


def test_equal_distances_keep_the_order_of_the_gallery(features):
    assert rgbir_jax.rank(features[:1], features[[3, 0, 0, 1, 0]], top=3).order.tolist() == [[1, 2, 4]]


def test_what_cannot_be_compared_is_refused(model, arrays):
    found = model.features(arrays[:2], "rgb")
    other = model.features(arrays[:2], "rgb")
    other.run = "12345678"
    with pytest.raises(UserError, match="have features of two runs; compute both with the same"):
        rgbir_jax.rank(found, other)
    texts, complex_numbers = np.full((1, 128), "a"), np.zeros((1, 128), complex)
    for query in (np.zeros((1, 127)), np.zeros(128), np.full((1, 128), np.nan), texts, complex_numbers):
        with pytest.raises(UserError, match="both must be finite"):
            rgbir_jax.rank(query, found)
    with pytest.raises(UserError, match="top is 0; it must be at least 1"):
        rgbir_jax.rank(found, found, top=0)


def test_a_swap_of_two_images_is_a_pillow_image(model, people, arrays):
    swapped = model.swap(appearance=people / "00.png", structure=f"{people}/01.png")
    assert isinstance(swapped, Image.Image)
    assert (swapped.mode, swapped.size) == ("RGB", (32, 64))
    several = model.swap(structure=arrays[1:3], appearance=[people / "00.png", people / "04.png"])
    assert several.shape == (2, 64, 32, 3)
    np.testing.assert_allclose(np.asarray(swapped, int), several[0], atol=1)
    for one in (arrays[1], Image.fromarray(arrays[1])):
        np.testing.assert_allclose(np.asarray(model.swap(one, arrays[0]), int), several[0], atol=1)
    many = model.swap(np.tile(arrays[1:2], (130, 1, 1, 1)), np.tile(arrays[:1], (130, 1, 1, 1)))
    np.testing.assert_allclose(many.astype(int), np.broadcast_to(several[:1], many.shape), atol=1)
    assert model.swap(arrays[:0], []).shape == (0, 64, 32, 3)
    with pytest.raises(UserError, match="there are 6 images for the structure and 1 for the appearance"):
        model.swap(structure=people, appearance=arrays[0])


@pytest.mark.parametrize("steps", [1, 0, -1])
def test_an_interpolation_has_two_steps_or_more(model, arrays, steps):
    with pytest.raises(UserError, match=f"an interpolation has 2 steps or more, and not {steps}"):
        model.interpolate(arrays[0], arrays[0], arrays[1], steps=steps)


def test_an_image_that_cannot_be_read_is_not_swapped(model, people, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a.png cannot be decoded"):
        model.swap(structure=tmp_path / "a.png", appearance=people / "00.png")


def test_the_program_of_the_readme_finds_the_person(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_people(tmp_path / "people", range(8))
    write_people(tmp_path, [3], OTHER_DAY)[0].rename(tmp_path / "query.png")
    program = readme_program()
    assert sum(bool(line) for line in program.splitlines()) == 5
    exec(program, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "query.png (IR)"
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3", "4", "5"]
    assert lines[1].endswith("people/03.png")


def test_structures_are_the_codes_of_the_stage(model, people, arrays):
    codes = model.structure(people)
    _, expected = model.stages["image"].codes(model.states["image"], normalise(arrays))
    assert codes.shape == (6, 16, 8, 64)
    np.testing.assert_allclose(codes, expected, atol=1e-3)
