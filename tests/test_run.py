"""A run opens from its folder only, and computes the features that eval.py scores."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import rgbir_jax
from rgbir_jax.commands import recipe, scoring
from rgbir_jax.data.sources import open_source
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.feature_file import score_feature_file
from rgbir_jax.lookup import CONFIG_FOLDER
from rgbir_jax.origin import Facts
from tests.end_to_end.recipe import get_config
from tests.linear_stage import Linear
from tests.stages.test_embedding import tiny_config as tiny_embedding_config


def image_recipe():
    return get_config("teacher")


def embedding_recipe():
    """Returns a short recipe of two streams, a classifier, and encoders and decoders."""
    config, small = tiny_embedding_config(), get_config("teacher")
    for key in ("source", "image_size", "augment", "train_split", "batch"):
        config[key] = small[key]
    config.two_stream.networks.stream.update({"width": 4, "blocks": (1, 1, 1, 1)})
    for name in config.recipe:
        config[name].update({"steps": 2, "log_every": 1, "evaluate_every": 0, "checkpoint_every": 2})
    return config


@pytest.fixture(scope="module", params=[image_recipe, embedding_recipe])
def trained(request, drawn, tmp_path_factory):
    """Trains, scores and deletes the dataset. Returns (run's folder, test images, modality, file of their features)."""
    folder = tmp_path_factory.mktemp("run")
    data = folder / "data"
    shutil.copytree(drawn, data)
    config = request.param()
    config.data_dir = str(data)
    recipe.train(config, str(folder / "run"))
    scored = scoring.score(rgbir_jax.load(folder / "run"))
    scoring.write_features(scored, str(folder / "features.npz"))
    images = open_source(config).read(scored.benchmark.rows)
    shutil.rmtree(data)
    return folder / "run", images, scored.benchmark.records.modality, folder / "features.npz"


def test_features_are_those_of_eval(trained):
    folder, images, modality, file = trained
    run = rgbir_jax.load(folder)
    features = run.features(images, modality)
    with np.load(file) as written:
        np.testing.assert_allclose(features, written["feature"], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)


def test_the_file_of_features_has_the_scores_of_the_run(trained, drawn):
    folder, _, _, file = trained
    table, of_file = score_feature_file(str(file), str(drawn))
    assert table.startswith("SYSU-MM01 (drawn), features.npz; protocol official")
    of_run = json.loads((folder / "scores.json").read_text())
    assert {name: of_file[name] for name in of_run["settings"]} == of_run["trained"]


def test_scoring_needs_nobody_to_train(trained, drawn, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "run")
    tests = shutil.copytree(drawn, tmp_path / "tests")
    for split in ("train", "val"):
        path = tests / "exp" / f"{split}_id.txt"
        for person in path.read_text().strip().split(","):
            for images in tests.glob(f"cam*/{int(person):04d}"):
                shutil.rmtree(images)
        path.unlink()
    scored = scoring.score(rgbir_jax.load(folder), {"data_dir": str(tests)})
    assert scored.folder == folder
    before = json.loads((trained[0] / "scores.json").read_text())["trained"]
    assert scored.scores["trained"]["all_single"]["cmc"] == pytest.approx(before["all_single"]["cmc"])


def test_the_facts_of_a_run(trained):
    folder, images, _, _ = trained
    run = rgbir_jax.load(folder)
    assert len(run.facts.people) == 6
    assert run.facts.dataset == "SYSU-MM01 (drawn)"
    assert tuple(run.facts.image_size) == images.shape[1:3]
    assert run.facts.versions["jax"] == jax.__version__
    assert list(run.stages) == list(run.config.recipe)
    assert repr(run) == f"Run('{folder}', {' -> '.join(run.stages)}, SYSU-MM01 (drawn))"


def test_other_images_are_refused(trained):
    run = rgbir_jax.load(trained[0])
    images = np.zeros((2, 64, 32, 3), np.uint8)
    with pytest.raises(UserError, match="there are 2 images and the modalities are 3;"):
        run.features(images, np.array([0, 1, 0]))
    with pytest.raises(UserError, match=r"a modality is 2; it must be 0 \(RGB\) or 1 \(IR\)"):
        run.features(images, np.array([0, 2]))
    with pytest.raises(UserError, match=r"there are 2 images and the modalities are 2x1; give \[n\], one per image"):
        run.features(images, np.array([[0], [1]]))
    for modality in (0.5, "day"):
        with pytest.raises(UserError, match=rf"a modality is {modality}; it must be 0"):
            run.features(images, np.array([modality, modality]))
    with pytest.raises(UserError, match="the images are float32 2x64x32x3; give uint8"):
        run.features(images.astype(np.float32), np.array([0, 1]))
    with pytest.raises(UserError, match="the images are uint8 64x32x2; give uint8"):
        run.features(images[0, ..., :2], np.array([0]))
    assert run.features(images[:0], np.zeros(0, int)).shape == (0, run.features(images, np.array([0, 1])).shape[1])


def test_maps_of_pairs(trained):
    folder, images, modality, _ = trained
    run = rgbir_jax.load(folder)
    (rgb, *_), (ir, *_) = (np.flatnonzero(modality == kind) for kind in (0, 1))
    query, gallery = [ir, rgb, rgb], [rgb, ir, rgb]
    maps = run.explain(images[query], images[gallery], modality[query], modality[gallery])
    for side in maps:
        assert side.shape == (3, 64, 32)
        assert side.dtype == np.float32
        assert side.min() >= 0
        assert side.max() == pytest.approx(1)
    np.testing.assert_allclose(maps.query[0], maps.gallery[1], atol=1e-4)
    np.testing.assert_allclose(maps.query[2], maps.gallery[2], atol=1e-6)
    assert [side.shape for side in run.explain(images[:0], images[:0], modality[:0], modality[:0])] == [(0, 64, 32)] * 2
    with pytest.raises(
        UserError, match="there are 2 query images and 1 gallery images; give one of each for every pair"
    ):
        run.explain(images[:2], images[:1], modality[:2], modality[:1])
    with pytest.raises(UserError, match="there are 1 images and the modalities are 2;"):
        run.explain(images[:1], images[:1], modality[:1], modality[:2])
    first = next(iter(run.stages))
    names = [field.name for field in dataclasses.fields(Linear)]
    run.stages[first] = Linear(**{field: getattr(run.stages[first], field) for field in names})
    text = f"run has no activation maps: the features of its stage {first} are not pooled from a feature map; use"
    with pytest.raises(UserError, match=text):
        run.explain(images[:1], images[:1], modality[:1], modality[:1])


def test_a_folder_without_a_run_is_refused(trained, tmp_path):
    with pytest.raises(UserError, match=r"config.json is missing: .* holds no run"):
        rgbir_jax.load(tmp_path)
    shutil.copy(Path(trained[0]) / "config.json", tmp_path)
    with pytest.raises(UserError, match=r"run.json is missing"):
        rgbir_jax.load(tmp_path)
    for content in ({"people": [1]}, [], json.loads((trained[0] / "run.json").read_text()) | {"people": "1"}):
        (tmp_path / "run.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"run.json is damaged"):
            Facts.read(tmp_path)
    shutil.copy(Path(trained[0]) / "run.json", tmp_path)
    with pytest.raises(UserError, match=r"has no checkpoint; run train.py with --workdir"):
        rgbir_jax.load(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "run.json"]  # reading makes nothing
    for content in ("", "[]", "{}", '{"recipe": ['):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(UserError, match=r"config.json (is damaged|has no recipe)"):
            rgbir_jax.load(tmp_path)


def test_a_run_keeps_what_it_takes_from_another(drawn, tmp_path):
    config = image_recipe()
    config.data_dir = str(drawn)
    recipe.train(config, str(tmp_path / "first"))
    config.teacher.from_run = str(tmp_path / "first")
    recipe.train(config, str(tmp_path / "second"))
    images = np.zeros((2, 64, 32, 3), np.uint8), np.array([0, 1])
    features = rgbir_jax.load(tmp_path / "first").features(*images)
    config.data_dir = str(shutil.copytree(drawn, tmp_path / "less"))
    (tmp_path / "less/cam1/0001/0001.jpg").unlink()
    text = rf"{tmp_path}/first was trained on 10 images of identity 1, and .* has 9; config.teacher.from_run needs"
    with pytest.raises(UserError, match=text):
        recipe.train(config, str(tmp_path / "third"))
    config.data_dir = str(drawn)
    shutil.rmtree(tmp_path / "first")
    np.testing.assert_array_equal(rgbir_jax.load(tmp_path / "second").features(*images), features)
    recipe.train(config, str(tmp_path / "second"))  # is finished, and needs the first no longer
    with pytest.raises(UserError, match=r"config.teacher.from_run does not name a run with a trained stage teacher"):
        recipe.train(config, str(tmp_path / "third"))
    assert not (tmp_path / "third").exists()


def test_a_start_without_a_checkpoint_binds_nothing(drawn, tmp_path, monkeypatch):
    config = image_recipe()
    config.data_dir = str(drawn)
    with monkeypatch.context() as patch:
        patch.setattr(recipe, "fit", lambda *arguments, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            recipe.train(config, str(tmp_path))
    config.seed = 1
    recipe.train(config, str(tmp_path))
    config.seed = 2
    with pytest.raises(UserError, match=r"was started with config.seed = 1, now it is 2"):
        recipe.train(config, str(tmp_path))
    older = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({key: value for key, value in older.items() if key != "seed"}))
    with pytest.raises(UserError, match=r"was started by a version of this code without config.seed"):
        recipe.train(config, str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(older))
    moved = "somewhere/else"
    config.seed = 1
    monkeypatch.setenv(CONFIG_FOLDER, moved)
    recipe.train(config, str(tmp_path))
    assert Facts.read(tmp_path).config_folder == moved
