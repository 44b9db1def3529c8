"""Weights in int8: how far they are from those that they stand for, in memory and in files."""

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rgbir_jax.errors import UserError
from rgbir_jax.inference import weights
from rgbir_jax.inference.quantization import dequantized, quantize, quantized
from tests.untrained import configs, untrained


@pytest.fixture(scope="module")
def teacher():
    run = untrained(configs()["teacher"])
    return run.stages["teacher"], run.states["teacher"]


def test_each_output_channel_has_its_own_scale():
    weight = np.random.default_rng(0).normal(size=(3, 3, 8, 4)) * [1e-3, 1, 1e3, 0]
    values, scale = quantize(weight)
    assert values.dtype == np.int8
    assert values.shape == weight.shape
    assert scale.shape == (4,)
    assert (np.abs(values[..., :3]).max((0, 1, 2)) == 127).all()
    assert (np.abs(values * scale - weight) <= 0.5001 * np.abs(weight).max((0, 1, 2)) / 127).all()


def test_vectors_and_statistics_stay(teacher):
    _, state = teacher
    params, before = (jax.tree.leaves(jax.device_get(some.params)) for some in (dequantized(quantized(state)), state))
    changed = [not np.array_equal(now, then) for now, then in zip(params, before, strict=True)]
    assert changed == [leaf.ndim > 1 for leaf in before]
    assert dequantized(quantized(state)).batch_stats is state.batch_stats


def test_files_of_int8_are_half_as_large_and_are_read(teacher, tmp_path):
    stage, state = teacher
    sizes = {}
    for kind in ("float16", "int8"):
        weights.write(tmp_path / kind, {"teacher": stage}, {"teacher": state}, int8=kind == "int8")
        sizes[kind] = sum(tensor.nbytes for tensor in load_file(tmp_path / kind).values() if tensor.ndim > 1)
    assert sizes["int8"] == sizes["float16"] / 2
    kernel = "teacher/params/E_a/trunk/conv1/kernel"
    assert load_file(tmp_path / "int8")[kernel].dtype == np.int8
    read = weights.read(tmp_path / "int8", "teacher", stage)
    expected = dequantized(quantized(state)).params["E_a"]["trunk"]["conv1"]["kernel"]
    np.testing.assert_allclose(read.params["E_a"]["trunk"]["conv1"]["kernel"], expected, rtol=1e-6)


def test_a_file_without_a_scale_is_damaged(teacher, tmp_path):
    stage, state = teacher
    path = tmp_path / "weights"
    weights.write(path, {"teacher": stage}, {"teacher": state}, int8=True)
    tensors = load_file(path)
    del tensors[f"teacher/params/E_a/trunk/conv1/kernel{weights.SCALE}"]
    save_file(tensors, path)
    with pytest.raises(UserError, match=r"is damaged .*conv1/kernel/scale.*; export the run once more"):
        weights.read(path, "teacher", stage)
