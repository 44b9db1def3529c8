"""The report shows everything that stages draw."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from rgbir_jax import stages
from rgbir_jax.commands import generated
from rgbir_jax.commands.scoring import Scored
from rgbir_jax.stages.hicmd import HiCMD
from tests.stages.thin_hicmd import thin_config, thin_networks
from tests.tiny import tiny_cmpig_config, tiny_config
from tests.untrained import random_state


def scored_run(names, scores, monkeypatch) -> Scored:
    """Returns a run whose last stage draws grids of some names, with the images that they are drawn from."""
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 4, 3), np.uint8)
    columns = {"between_appearances": 3, "between_structures": 3}
    grids = {name: np.zeros((2, columns.get(name, 2), 8, 4, 3), np.uint8) for name in names}
    run = SimpleNamespace(
        config=None, last="x", stages={"x": SimpleNamespace(pictures=lambda state, x: grids)}, states={"x": 0}
    )
    monkeypatch.setattr(generated, "sample_rows", lambda config, records: np.arange(2))
    source = SimpleNamespace(records=None, read=lambda rows: images[rows])
    return Scored(**dict.fromkeys(Scored._fields) | {"run": run, "source": source, "scores": {"steps": 1000} | scores})


def test_a_stage_that_does_not_render_has_figures_too(monkeypatch):
    """Such as cmPIG: it draws and has no `render`, so the error of its reconstructions is not scored."""
    shown = generated.figures(scored_run(("swapped", "cycles"), {}, monkeypatch))
    assert [figure.name for figure in shown] == ["swapped", "cycles"]
    assert shown[0].caption.endswith("Drawn after 1,000 iterations.")
    assert "Drawn after" not in shown[1].caption


def test_illumination_is_shown_and_the_error_of_reconstructions(monkeypatch):
    scores = {"reconstruction": {"l1": 10.0, "mean_image": 40.0}}
    shown = generated.figures(scored_run(tuple(generated.GRIDS), scores, monkeypatch))
    assert [figure.name for figure in shown] == list(generated.GRIDS)
    assert shown[0].caption.endswith("images is 10.00, 25% of what their mean image scores (40.00).")
    (corner,) = (axes for axes in shown[2].figure.axes if axes.texts)
    assert "illumination" in corner.texts[0].get_text()
    assert generated.figures(scored_run((), {}, monkeypatch)) == []


@pytest.mark.parametrize("system", ["image", "cmpig", "hicmd"])
def test_every_grid_of_a_stage_has_a_figure(system):
    config = {"image": tiny_config, "cmpig": tiny_cmpig_config, "hicmd": thin_config}[system]()
    built, states = {}, {}
    with thin_networks():
        for name in config.recipe:
            built[name] = HiCMD.build(config, name, 6) if name == "hicmd" else stages.build(config, name, 6)
            states[name] = random_state(built[name], states)
    last = config.recipe[-1]
    images = jax.ShapeDtypeStruct((4, *config.image_size, 3), np.float32)
    assert set(jax.eval_shape(built[last].pictures, states[last], images)) <= set(generated.GRIDS)
