"""Method2 starts from a run on any of the datasets of one modality, by config only."""

import jax
import numpy as np
import pytest

from configs import market_image
from rgbir_jax.commands import describe, recipe, scoring
from rgbir_jax.run import load
from tests.end_to_end.recipe import get_config
from tests.other_trees import write_duke, write_msmt17

TREES = {"duke": (write_duke, "DukeMTMC-reID (drawn)"), "msmt17": (write_msmt17, "MSMT17 (drawn)")}
TERMS = {"L_simple", "L_id_orig", "L_adv_D", "L_adv_G"}  # they train all networks and compile soon


def one_step(config):
    """Lets the image stage train for one iteration from random weights."""
    config.recipe = ("image",)
    config.image.update({"start_from": "", "teacher": "", "steps": 1, "evaluate_every": 0, "pictures_every": 0})
    config.image.decay.update({"at": (), "warmup": 0})
    for term in set(config.image.weights) - TERMS:
        config.image.weights[term] = 0.0
    return config


@pytest.mark.parametrize("name", TREES)
def test_the_market_recipe_takes_their_trees(name, tmp_path):
    config = market_image.get_config()
    config.dataset, config.data_dir = name, str(TREES[name][0](tmp_path / "tree", 3, 2))
    described = describe.describe(config)
    assert f"dataset     {name}, 3 training identities, from {config.data_dir}" in described
    assert "image 16x1x2x256x128x3" in described


@pytest.mark.slow
@pytest.mark.parametrize("name", TREES)
def test_method2_starts_from_them(name, drawn, tmp_path, capsys):
    write, title = TREES[name]
    market = one_step(get_config())
    market_image.use_market(market)
    market.dataset, market.data_dir = name, str(write(tmp_path / "tree", 8, 2))
    recipe.train(market, str(tmp_path / "market"))
    run = load(tmp_path / "market")
    assert scoring.score(run).scores["dataset"] == title

    method2 = one_step(get_config())
    method2.data_dir = str(drawn)
    method2.image.transfer_from = str(tmp_path / "market")
    for group in method2.image.optimizers.values():
        group.learning_rate = 0.0
    recipe.train(method2, str(tmp_path / "method2"))
    started = load(tmp_path / "method2")
    for network in ("E_s", "E_a", "G", "D"):
        before, after = (one.states["image"].params[network] for one in (run, started))
        jax.tree.map(np.testing.assert_array_equal, before, after)
    assert f"from {tmp_path / 'market'}/image, iteration 1; random: head" in capsys.readouterr().out
