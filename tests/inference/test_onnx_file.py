"""ONNX files in ONNX Runtime give what the run gives. `make test-onnx` runs this in an environment with jax2onnx."""

import json

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.commands.export import export
from rgbir_jax.errors import UserError
from rgbir_jax.inference import onnx_file
from rgbir_jax.inference.programs import Program
from tests.untrained import configs, untrained

pytest.importorskip("jax2onnx", reason="needs pip install 'rgbir-jax[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("kind", configs())
def test_features_are_those_of_the_run(kind, tmp_path):
    run = untrained(configs()[kind])
    export(run, tmp_path / "model", ("onnx",))
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (17, *run.facts.image_size, 3), np.uint8)
    modality = np.resize([1, 0, 0, 1, 1], 17).astype(np.int32)
    expected = run.features(images, modality)
    found = session(tmp_path / "model" / "features.onnx")
    assert {spec.name: spec.shape[0] for spec in found.get_inputs()} == {"images": "batch", "modality": "batch"}
    for size in (1, 3, 17):
        (features,) = found.run(["features"], {"images": images[:size], "modality": modality[:size]})
        np.testing.assert_allclose(features, expected[:size], rtol=0, atol=1e-4)
    noted = json.loads((tmp_path / "model" / "model.json").read_text())["files"]["features.onnx"]
    assert noted["difference_from_jax"] <= 1e-4
    assert noted["opset"] == onnx_file.OPSET


def test_a_file_that_computes_something_else_is_not_written(monkeypatch):
    monkeypatch.setattr(onnx_file, "_difference", lambda content, program: np.nan)
    (batch,) = jax.export.symbolic_shape("batch")
    program = Program(
        "features", lambda images: images + 1.0, {"images": jax.ShapeDtypeStruct((batch, 3), jnp.float32)}
    )
    with pytest.raises(UserError, match=r"the features that ONNX Runtime computes differ from the run's by nan, so no"):
        onnx_file.to_onnx(program)


def test_an_operation_that_cannot_be_converted_is_named():
    (batch,) = jax.export.symbolic_shape("batch")
    specs = {"images": jax.ShapeDtypeStruct((batch, 3), jnp.float32)}
    program = Program("features", lambda images: jax.scipy.special.bessel_jn(images, v=2), specs)
    with pytest.raises(UserError, match=r"jax2onnx cannot convert this run \(.*\); export it with --format jax"):
        onnx_file.to_onnx(program)


@pytest.mark.parametrize(("strides", "padding"), [(None, "VALID"), ((2, 2), "SAME"), ((2, 1), ((1, 1), (0, 1)))])
def test_pooling_of_three_axes_is_max_pooling(strides, padding):
    x = jax.random.normal(jax.random.key(0), (2, 8, 5, 3))
    expected = nn.max_pool(x, (3, 2), strides, padding)
    with onnx_file._pooling_of_three_axes():
        pooled = nn.max_pool(x, (3, 2), strides, padding)
    np.testing.assert_array_equal(pooled, expected)
