"""Hi-CMD with thin networks, from drawn data to the report, its swapped images and its activation maps."""

from pathlib import Path

import numpy as np
import pytest

from rgbir_jax.commands import disentanglement, recipe, report, scoring
from rgbir_jax.evaluation.scores import systems
from rgbir_jax.run import load
from tests.stages.thin_hicmd import thin_config, thin_networks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(drawn, tmp_path_factory):
    """Trains three iterations. Returns (workdir, Scored) while networks are thin."""
    config = thin_config()
    config.update({"source": "memory", "image_size": (64, 32), "data_dir": str(drawn)})
    config.hicmd.update({"steps": 3, "log_every": 1, "evaluate_every": 3, "checkpoint_every": 3, "pictures_every": 3})
    workdir = str(tmp_path_factory.mktemp("runs") / "hicmd")
    with thin_networks():
        recipe.train(config, workdir)
        yield workdir, scoring.score(load(workdir))


def test_scores_and_the_report(run, monkeypatch):
    _, scored = run
    assert set(systems(scored.scores)) == {"chance", "raw_pixels", "untrained", "trained", "p", "t", "e"}
    monkeypatch.setattr(disentanglement, "NEW_PEOPLE", 10)
    measured = disentanglement.measure(scored, disentanglement.check(scored.run, None), 3)
    assert measured["probes"].keys() == {"a", "s", "feature"}
    page = Path(report.write(scored, measured)).read_text()
    for heading in ("Disentanglement", "Swapped images and the truth", "Between two appearances", "Swapped images"):
        assert f"<h2>{heading}</h2>" in page
    assert "Drawn after 3 iterations. The mean L1 error" in page


def test_what_the_page_asks_of_a_run(run, drawn):
    workdir, _ = run
    opened = load(workdir)
    rgb, ir = (sorted(Path(drawn, f"cam{camera}").rglob("*.jpg"))[:2] for camera in (1, 3))
    assert opened.features(rgb + ir).shape == (4, 8)
    assert opened.structure(rgb + ir).shape == (4, 4, 2)
    strip = opened.interpolate(rgb, ir, rgb, steps=3)
    assert strip.shape == (2, 3, 64, 32, 3)
    np.testing.assert_array_equal(strip[:, 0], opened.swap(rgb, ir))
    maps = opened.explain(rgb, ir)
    assert maps.query.shape == maps.gallery.shape == (2, 64, 32)
    assert maps.query.max() == pytest.approx(1)
