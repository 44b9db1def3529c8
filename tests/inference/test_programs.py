"""Exported functions give what the run gives, in a process that cannot import this package."""

import dataclasses
import json
import subprocess
import sys

import jax
import jax.export
import numpy as np
import pytest
from PIL import Image

from rgbir_jax import stages
from rgbir_jax.commands.export import LOADER, export
from rgbir_jax.data.decoding import decode
from rgbir_jax.inference.programs import features_program
from rgbir_jax.inference.quantization import dequantized, quantized
from tests.conftest import write_image
from tests.tiny import TWO_STEM
from tests.untrained import configs, random_state, untrained

KINDS = ("teacher", "image", "two_stream", "embedding", "deen")
SIZES = (1, 3, 17)
ALONE = f"""
import runpy, sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("rgbir_jax", "flax", "optax", "orbax"):
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
import jax, numpy as np
for folder in sys.argv[1:]:
    loader = runpy.run_path(folder + "/loader.py")
    inputs = np.load(folder + "/inputs.npz")
    images, modality = inputs["images"], inputs["modality"]
    results = {{str(n): loader["features"](images[:n], modality[:n]) for n in {SIZES}}}
    if "swap" in inputs:
        swap = jax.export.deserialize(bytearray(open(folder + "/swap.jaxexport", "rb").read()))
        results["swap"] = swap.call(images[:3], images[2::-1])
    np.savez(folder + "/results.npz", **results)
assert not {{"rgbir_jax", "flax", "optax", "orbax"}} & sys.modules.keys()
"""


@pytest.fixture(scope="module")
def runs():
    return {kind: untrained(config) for kind, config in configs().items() if kind in KINDS}


@pytest.fixture(scope="module")
def folders(runs, tmp_path_factory):
    """Exports a run of each kind and computes features from the files only. Returns the folders by kind."""
    folders = {kind: tmp_path_factory.mktemp("exported") / kind for kind in KINDS}
    for kind, folder in folders.items():
        export(runs[kind], folder, ("jax",))
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, (max(SIZES), *runs[kind].facts.image_size, 3), np.uint8)
        modality = np.resize([1, 0, 0, 1, 1], max(SIZES)).astype(np.int32)
        swaps = {"swap": True} if (folder / "swap.jaxexport").exists() else {}
        np.savez(folder / "inputs.npz", images=images, modality=modality, **swaps)
    command = [sys.executable, "-I", "-c", ALONE, *map(str, folders.values())]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return folders


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_the_run(runs, folders, kind):
    inputs, results = (np.load(folders[kind] / name) for name in ("inputs.npz", "results.npz"))
    expected = runs[kind].features(inputs["images"], inputs["modality"])
    assert np.ptp(expected, axis=0).max() > 0.01  # they depend on the image
    for size in SIZES:
        np.testing.assert_allclose(results[str(size)], expected[:size], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", sorted({*TWO_STEM} - {*KINDS}))
def test_files_of_two_stem_systems_take_any_number_of_images(kind, tmp_path):
    run = untrained(configs()[kind])
    export(run, tmp_path / "model", ("jax",))
    program = jax.export.deserialize(bytearray((tmp_path / "model" / "features.jaxexport").read_bytes()))
    images = np.random.default_rng(0).integers(0, 256, (3, *run.facts.image_size, 3), np.uint8)
    modality = np.array([1, 0, 0], np.int32)
    expected = run.features(images, modality)
    assert np.ptp(expected, axis=0).max() > 0.01
    for size in (1, 3):
        np.testing.assert_allclose(program.call(images[:size], modality[:size]), expected[:size], rtol=0, atol=1e-5)


def test_swaps_are_those_of_the_run(runs, folders):
    assert [kind for kind in KINDS if (folders[kind] / "swap.jaxexport").exists()] == ["image"]
    images, swapped = (np.load(folders["image"] / f"{name}.npz") for name in ("inputs", "results"))
    images, swapped = images["images"], swapped["swap"]
    expected = runs["image"].swap(images[:3], images[2::-1])
    assert expected.std() > 0
    assert np.abs(swapped.astype(int) - expected).max() <= 1  # of 255


def test_a_description_comes_with_the_files(runs, folders):
    model = json.loads((folders["embedding"] / "model.json").read_text())
    features = model["files"]["features.jaxexport"]
    assert features["inputs"]["images"].startswith("uint8 [batch, 32, 16, 3]: RGB in 0..255")
    assert features["inputs"]["modality"] == "int32 [batch]: 0 RGB, 1 infrared"
    assert features["output"]["features"].startswith("float32 [batch, 8]: unit vectors")
    assert features["platforms"] == ["cpu", "cuda", "tpu"]
    assert isinstance(features["calling_convention_version"], int)
    assert set(model["run"]["stages"]) == {"two_stream", "embedding"}
    assert model["versions"]["jax"] == jax.__version__
    other = json.loads((folders["two_stream"] / "model.json").read_text())
    assert other["run"]["stages"]["two_stream"]["fingerprint"] != model["run"]["stages"]["two_stream"]["fingerprint"]


def test_the_loader_is_a_program(runs, folders, tmp_path):
    """It reads images as the package does, whatever their size, and knows which ones are infrared."""
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths[:3]):
        write_image(path, number, grey=number == 2)
    thermal = np.asarray(Image.open(paths[2]).convert("L")).astype(np.uint16) * 257
    Image.fromarray(thermal).save(paths[3])
    folder, run = folders["two_stream"], runs["two_stream"]
    arguments = [*paths[:2], "--ir", *paths[2:]]
    command = [sys.executable, "-I", folder / "loader.py", *arguments]
    printed = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    images = np.stack([decode(path, tuple(run.facts.image_size)) for path in paths])
    expected = run.features(images, np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(np.loadtxt(printed.splitlines()), expected, rtol=0, atol=1e-5)


def test_the_loader_has_ten_lines():
    lines = LOADER.read_text().split('"""', 2)[2].splitlines()
    statements = [line for line in lines if line.strip() and not line.lstrip().startswith(("import", "from", '"""'))]
    assert len(statements) <= 10


def test_what_only_trains_is_left_out(runs):
    """The classifier of many people does not make the file larger."""
    sizes, run = [], runs["teacher"]
    for classes in (4, 9_999):
        stage = stages.build(run.config, "teacher", classes)
        program = features_program((stage,), (random_state(stage, {}),), run.facts.image_size)
        sizes.append(len(program.exported().serialize()))
    assert sizes[0] == sizes[1]


def test_weights_of_int8_are_in_the_file_as_int8(runs):
    run = runs["teacher"]
    (stage,), size = run.stages.values(), run.facts.image_size
    before, after = (
        features_program((stage,), (state,), size).exported()
        for state in (run.states["teacher"], quantized(run.states["teacher"]))
    )
    kernels = sum(leaf.size for leaf in jax.tree.leaves(run.states["teacher"].params) if leaf.ndim > 1)
    assert len(before.serialize()) - len(after.serialize()) > 2 * kernels  # 3 bytes less each, and the scales
    images = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    states = {"teacher": dequantized(quantized(run.states["teacher"]))}
    expected = dataclasses.replace(run, states=states).features(images, np.zeros(3, np.int32))
    np.testing.assert_allclose(after.call(images, np.zeros(3, np.int32)), expected, rtol=0, atol=1e-5)
