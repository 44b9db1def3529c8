"""How well activation maps agree with occlusion: of made-up maps, and of the included model on drawn people."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.activation_maps import agreement, occlusion_maps, summary


class LeftHalf:
    """A run that sees only how light the left half of an image is, and how light a grey image would be."""

    def features(self, images, modality):
        light = images[:, :, : images.shape[2] // 2].mean(axis=(1, 2, 3)) / 255
        return np.stack([light, np.ones(len(images))], axis=1)


def test_occlusion_finds_the_half_that_matters():
    images = np.full((2, 16, 8, 3), 250, np.uint8)
    others = np.array([[1.0, 0], [-1, 0]])  # lightness speaks for the first pair, against the second
    fall = occlusion_maps(LeftHalf(), images, np.zeros(2, np.int32), others, patch=2, step=2)
    assert fall.shape == (2, 16, 8)
    np.testing.assert_allclose(fall[1], -fall[0])
    np.testing.assert_allclose(fall[0, :, 4:], 0, atol=1e-12)
    assert fall[0, :, :4].min() > 0
    maps = np.zeros((2, 16, 8))
    maps[0, :, :4] = 0.7  # the second map is empty
    np.testing.assert_allclose(agreement(maps, fall), [[1, 0], [-1, 0]], atol=1e-3)


def test_the_summary_compares_own_maps_with_those_of_others():
    row = summary(np.array([[0.9, 0.1, 0.3], [0.0, 0.4, 0.2], [0.5, 0.7, 0.2]]))
    assert row["own"] == pytest.approx(0.5)
    assert row["others"] == pytest.approx(0.3)
    assert row["difference"] == pytest.approx(0.2)
    assert row["better"] == pytest.approx(2 / 3)
    assert row["difference_error"] == pytest.approx(np.std([0.7, 0.3, -0.4], ddof=1) / np.sqrt(3))


@pytest.mark.slow
def test_maps_of_the_included_model_agree_with_occlusion(tmp_path):
    """Better than the maps of other pairs do, by three standard errors; docs/activation_maps.md has the figures."""
    environment = {key: value for key, value in os.environ.items() if key != "JAX_DISABLE_MOST_OPTIMIZATIONS"}
    command = [sys.executable, "-m", "benchmarks.activation_maps", "--step=8", f"--json={tmp_path / 'rows.json'}"]
    subprocess.run(command, check=True, env=environment)
    for row in json.loads((tmp_path / "rows.json").read_text())["rows"].values():
        assert row["difference"] > 3 * row["difference_error"]
