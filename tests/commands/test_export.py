"""A small model of a run opens as the run does, and gives what it gives."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import rgbir_jax
from rgbir_jax.commands import recipe, scoring
from rgbir_jax.commands.export import export, main
from rgbir_jax.errors import UserError
from rgbir_jax.inference import weights
from rgbir_jax.stages import build
from tests.end_to_end.recipe import get_config
from tests.stages.test_embedding import tiny_config as tiny_embedding_config
from tests.tiny import tiny_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(drawn, tmp_path_factory):
    """Trains a teacher and an image stage for a few iterations. Returns the run's folder."""
    folder = tmp_path_factory.mktemp("run") / "run"
    config = get_config()
    config.data_dir = str(drawn)
    recipe.train(config, str(folder))
    return folder


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 64, 32, 3), np.uint8)


def test_a_model_gives_what_the_run_gives(trained, images, tmp_path):
    run, modality = rgbir_jax.load(trained), np.array([0, 0, 1, 1])
    main([str(trained), "--out", str(tmp_path / "model")])
    model = rgbir_jax.load(tmp_path / "model")
    assert list(model.stages) == ["image"]
    assert model.facts.people == run.facts.people
    np.testing.assert_allclose(model.features(images, modality), run.features(images, modality), atol=5e-3)
    swapped, expected = model.swap(images, images[::-1]), run.swap(images, images[::-1])
    assert swapped.dtype == np.uint8
    assert swapped.shape == images.shape
    assert np.abs(swapped.astype(int) - expected).max() <= 2
    assert expected.std() > 0


def test_a_model_holds_no_more_than_it_needs(trained, tmp_path):
    export(rgbir_jax.load(trained), tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "run.json",
        "weights.safetensors",
    ]
    tensors = load_file(tmp_path / "model" / weights.FILE)
    assert {tensor.dtype == np.float16 for tensor in tensors.values() if tensor.ndim > 1} == {True}
    networks = {name.split("/")[2] for name in tensors}
    assert networks == {"E_a", "E_s", "G", "head"}  # D only trains
    assert not any("classifier" in name for name in tensors)
    assert str(Path.cwd()) not in (tmp_path / "model" / "run.json").read_text()


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (tiny_config(), "teacher"),
        (tiny_config(), "image"),
        (tiny_config("dgnet"), "image"),
        (tiny_config("released"), "image"),
        (tiny_embedding_config(), "two_stream"),
    ],
    ids=["teacher", "paper", "dgnet", "released", "two_stream"],
)
def test_what_only_trains_changes_neither_features_nor_images(config, name, tmp_path, images):
    stage = build(config, name, 4)
    names = (stage.config.get("teacher", ""), stage.config.get("start_from", ""))
    previous = {other: build(config, other, 4).init(jax.random.key(1), {}) for other in filter(None, names)}
    state = stage.init(jax.random.key(0), previous)
    weights.write(tmp_path / "w.safetensors", {name: stage}, {name: state})
    read = weights.read(tmp_path / "w.safetensors", name, stage)
    x = jax.random.normal(jax.random.key(2), (4, *config.image_size, 3))
    modality = jnp.array([0, 0, 1, 1])
    before, after = (np.asarray(stage.features(s, x, modality)) for s in (state, read))
    np.testing.assert_allclose(after, before, atol=0.02 * np.abs(before).max())
    if stage.renders:
        before, after = (np.asarray(stage.render(s, x, x[::-1])) for s in (state, read))
        np.testing.assert_allclose(after, before, atol=0.05)


def test_a_model_takes_the_thresholds_along(trained, tmp_path):
    assert not (trained / "thresholds.json").exists()
    shutil.copytree(trained, tmp_path / "run")
    scoring.score(rgbir_jax.load(tmp_path / "run"))
    run = rgbir_jax.load(tmp_path / "run")
    export(run, tmp_path / "model")
    assert rgbir_jax.load(tmp_path / "model").threshold(0.1) == run.threshold(0.1)
    path = tmp_path / "run" / "thresholds.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"steps": 1}))
    with pytest.raises(UserError, match=r"is of iteration 1 of image, and the run is now at iteration \d of image"):
        export(run, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_folder_is_not_overwritten(trained, tmp_path, capsys):
    (tmp_path / "model").mkdir()
    with pytest.raises(SystemExit, match=r"rgbir-export: .*model exists and is not overwritten; name a new folder"):
        main([str(trained), "--out", str(tmp_path / "model")])
    with pytest.raises(SystemExit, match=r"rgbir-export: .*config.json is missing: .* or load \"drawn\""):
        main([str(tmp_path), "--out", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()


def test_a_run_that_is_not_finished_is_not_exported(trained, tmp_path):
    run = rgbir_jax.load(trained)
    run.config.image.steps += 1
    with pytest.raises(UserError, match=r"run is not finished: image has 4 of its 5 iterations; repeat the command"):
        export(run, tmp_path / "model")
    shutil.rmtree(shutil.copytree(trained, tmp_path / "half") / "image")
    with pytest.raises(SystemExit, match=r"rgbir-export: .*image has no checkpoint; run train.py with --workdir"):
        main([str(tmp_path / "half"), "--out", str(tmp_path / "model")])
    assert not (tmp_path / "model").exists()


def test_formats_are_written_into_one_folder(trained, tmp_path, capsys):
    main([str(trained), "--out", str(tmp_path / "model"), "--format", "safetensors", "jax"])
    assert re.search(
        r"model: config.json, features.jaxexport, .*, weights.safetensors; [0-9.]+ MB.", capsys.readouterr().out
    )
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        *(weights.FILE, "config.json", "run.json"),
        *("features.jaxexport", "swap.jaxexport", "loader.py", "model.json"),
    }
    assert rgbir_jax.load(tmp_path / "model").last == "image"
    (stage,) = json.loads((tmp_path / "model/model.json").read_text())["run"]["stages"].values()
    assert stage["step"] == int(rgbir_jax.load(trained).states["image"].step)
    main([str(tmp_path / "model"), "--out", str(tmp_path / "once_more"), "--format", "jax"])
    (stage,) = json.loads((tmp_path / "once_more/model.json").read_text())["run"]["stages"].values()
    assert stage.keys() == {"fingerprint"}  # the weights of an exported run have no iteration


def test_a_missing_package_is_named_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("rgbir_jax.commands.export.find_spec", lambda name: None)
    for name, extra in (("onnx", "onnx"), ("jax", "export")):
        with pytest.raises(SystemExit, match=rf"the format {name} needs .*; pip install 'rgbir-jax\[{extra}\]'"):
            main([str(tmp_path / "none"), "--out", str(tmp_path / "model"), "--format", name])


def test_nothing_is_left_of_an_export_that_fails(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("rgbir_jax.commands.export.LOADER", tmp_path / "none")
    with pytest.raises(UserError, match=r"model cannot be written \(No such file"):
        export(rgbir_jax.load(trained), tmp_path / "model", ("safetensors", "jax"))
    assert not (tmp_path / "model").exists()


def test_a_killed_export_leaves_no_folder_and_the_same_command_works(tmp_path):
    program = textwrap.dedent("""
        import os, signal, sys
        from rgbir_jax.commands import export
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background programs without it
        write = export._write_weights
        export._write_weights = lambda *arguments: (write(*arguments), os.kill(os.getpid(), int(sys.argv[2])))
        export.main(["drawn", "--out", sys.argv[1]])
    """)
    folder = tmp_path / "models" / "model"
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        command = [sys.executable, "-c", program, str(folder), str(int(number))]
        status = subprocess.run(command, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode
        assert status != 0
        assert not folder.exists()
    assert not list(folder.parent.iterdir())  # after Ctrl-C; what SIGKILL had left, the next call deleted
    main(["drawn", "--out", str(folder)])
    assert {path.name for path in folder.iterdir()} >= {weights.FILE, "config.json", "run.json"}
    assert ".lock" not in {path.name for path in folder.iterdir()}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_model_in_int8_opens_as_well(trained, images, tmp_path):
    run, modality = rgbir_jax.load(trained), np.array([0, 0, 1, 1])
    main([str(trained), "--out", str(tmp_path / "model"), "--quantize", "int8"])
    tensors = load_file(tmp_path / "model" / weights.FILE).values()
    assert {tensor.dtype == np.int8 for tensor in tensors if tensor.ndim > 1} == {True}
    model = rgbir_jax.load(tmp_path / "model")
    np.testing.assert_allclose(model.features(images, modality), run.features(images, modality), atol=0.1)


def test_a_damaged_model_is_named(trained, tmp_path):
    export(rgbir_jax.load(trained), tmp_path / "model")
    path = tmp_path / "model" / weights.FILE
    content = path.read_bytes()
    path.write_bytes(content[:1_000])
    with pytest.raises(UserError, match=r"weights.safetensors is damaged .*; export the run once more"):
        rgbir_jax.load(tmp_path / "model")
    path.write_bytes(content)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["image"]["networks"]["G"]["mlp"] = 4
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"does not fit its config: it has image/params/G/.*, the config makes"):
        rgbir_jax.load(tmp_path / "model")


def test_numbers_beyond_float16_are_refused(tmp_path):
    config = tiny_config()
    stage = build(config, "teacher", 4)
    state = stage.init(jax.random.key(0), {})
    state.params["head"]["bottleneck_layer"]["kernel"] = np.full_like(
        state.params["head"]["bottleneck_layer"]["kernel"], 1e5
    )
    with pytest.raises(UserError, match=r"teacher/params/head/bottleneck_layer/kernel has numbers that float16"):
        weights.write(tmp_path / "w.safetensors", {"teacher": stage}, {"teacher": state})
    assert not (tmp_path / "w.safetensors").exists()


def test_a_run_without_a_generator_swaps_nothing(trained, images, tmp_path):
    run = rgbir_jax.load(trained)
    with pytest.raises(UserError, match="there are 4 images for the structure and 3 for the appearance"):
        run.swap(images, images[:3])
    with pytest.raises(UserError, match="the images are float64 4x64x32x3; give uint8"):
        run.swap(images, images / 2)
    run.config.recipe = ("teacher",)
    with pytest.raises(UserError, match=r"generates no images: its last stage is teacher; use an image stage"):
        run.swap(images, images)
