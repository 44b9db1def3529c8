"""Exported files of cmPIG and Hi-CMD, which also generate images: features of any number of images."""

import json

import jax
import jax.export
import numpy as np
import pytest

from rgbir_jax.commands.export import export
from tests.stages.thin_hicmd import thin_config, thin_networks
from tests.tiny import tiny_cmpig_config
from tests.untrained import untrained


@pytest.mark.parametrize(
    ("config", "files"),
    [(tiny_cmpig_config, {"features.jaxexport"}), (thin_config, {"features.jaxexport", "swap.jaxexport"})],
    ids=["cmpig", "hicmd"],
)
def test_files_give_what_the_run_gives(config, files, tmp_path):
    with thin_networks():
        run = untrained(config())
        export(run, tmp_path / "model", ("jax",))
    assert set(json.loads((tmp_path / "model" / "model.json").read_text())["files"]) == files
    programs = {
        name: jax.export.deserialize(bytearray((tmp_path / "model" / name).read_bytes())).call for name in files
    }
    images = np.random.default_rng(0).integers(0, 256, (3, *run.facts.image_size, 3), np.uint8)
    images[2] = images[2, ..., :1]  # infrared
    modality = np.array([0, 0, 1], np.int32)
    expected = run.features(images, modality)
    assert np.ptp(expected, axis=0).max() > 0.01
    for size in (1, 3):
        found = programs["features.jaxexport"](images[-size:], modality[-size:])
        np.testing.assert_allclose(found, expected[-size:], rtol=0, atol=1e-5)
        if "swap.jaxexport" in files:
            swapped = np.asarray(programs["swap.jaxexport"](images[:size], images[::-1][:size]))
            assert np.abs(swapped.astype(int) - run.swap(images[:size], images[::-1][:size])).max() <= 1
