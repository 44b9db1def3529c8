"""Every recipe of configs/ builds, at its full size; nothing is computed but shapes."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

import configs
from configs import market_image
from rgbir_jax import recipe, stages
from rgbir_jax.data.layouts import read_market1501
from rgbir_jax.evaluation.benchmark import Benchmark, validator
from rgbir_jax.training import parallel
from rgbir_jax.training.state import State
from tests.data.conftest import MARKET_NAMES, write_image
from tests.models.drawn import draw_leaves
from tests.tiny import drawn_batch, tiny_config

PRESETS = {
    "quickstart": ("paper", "dgnet"),
    "quickstart_market": ("paper", "dgnet"),
    "quickstart_methods": ("method1", "method2"),
    "quickstart_two_stream": ("bdtr", "baseline"),
    "quickstart_embedding": ("simple_dis", "simple_dis_cross", "random_triplet", "hard_triplet"),
    "sysu_image": ("paper", "dgnet", "market"),
    "sysu_two_stream": ("bdtr", "baseline"),
    "sysu_embedding": ("simple_dis", "simple_dis_cross", "random_triplet", "hard_triplet"),
    "market_image": ("paper", "dgnet"),
}
CLASSES = 395


def get_config(name):
    return importlib.import_module(f"configs.{name}").get_config


def test_every_file_is_tested_here():
    files = {path.stem for path in Path(configs.__file__).parent.glob("*.py")}
    assert files == {*PRESETS, "__init__"}


@pytest.mark.parametrize(("name", "preset"), [(name, preset) for name in PRESETS for preset in PRESETS[name]])
def test_every_stage_builds(name, preset):
    config = get_config(name)(preset)
    previous = {}
    for stage_name in config.recipe:
        stage = stages.build(config, stage_name, CLASSES)
        assert set(stage.needs) <= set(previous)
        assert not stage.reads or stage.reads in previous
        state = jax.eval_shape(stage.init, jax.random.key(0), previous)
        grouped = [network for group in stage.groups.values() for network in group.networks]
        assert sorted(grouped) == sorted(stage.networks) == sorted(state.params)
        assert max(config[stage_name].decay.at) < config[stage_name].steps
        previous[stage_name] = state


@pytest.mark.parametrize("name", PRESETS)
def test_the_default_is_the_documented_one(name):
    assert get_config(name)() in [get_config(name)(preset) for preset in PRESETS[name]]


@pytest.mark.parametrize("name", PRESETS)
def test_an_unknown_preset_is_told_the_known_ones(name):
    with pytest.raises(ValueError, match=r'"typo" is unknown; choose') as told:
        get_config(name)("typo")
    for preset in set(PRESETS[name]) - {"market"}:
        assert preset in str(told.value)


def test_method2_takes_over_what_market_trains():
    """The networks are the same, and the folder is the one that market_image's docstring trains into."""
    market, method2 = market_image.get_config(), get_config("sysu_image")("market")
    assert method2.image.networks == market.image.networks
    commands = market_image.__doc__ or ""
    assert f"--workdir {method2.image.transfer_from} " in commands
    assert "--config configs/sysu_image.py:market " in commands
    method2.image.transfer_from = ""
    assert method2 == get_config("sysu_image")("paper")


def test_the_small_methods_differ_in_what_they_start_from_alone():
    method1, method2 = (get_config("quickstart_methods")(preset) for preset in ("method1", "method2"))
    assert method2.image.networks == get_config("quickstart_market")().image.networks
    assert (method1.image.start_from, method1.image.transfer_from) == ("teacher", "")
    assert (method2.image.start_from, method2.image.transfer_from) == ("", "runs/quickstart_market")
    method2.image.update({"start_from": "teacher", "transfer_from": ""})
    assert method1 == method2


class Market:
    """A tiny tree of Market-1501, read by its own layout; its images are noise."""

    image_size: tuple[int, int] = (64, 32)

    def __init__(self, root):
        for seed, (folder, name) in enumerate((f, n) for f, names in MARKET_NAMES.items() for n in names):
            write_image(root / folder / name, seed)
        self.records = read_market1501(root)

    def images(self, rows):
        return np.random.default_rng(0).integers(0, 256, (len(rows), *self.image_size, 3), np.uint8)

    def batches(self, sampler, start=0, process_index=0, process_count=1):
        raise AssertionError("not asked for")


def tiny_market():
    config = tiny_config()
    full = market_image.get_config()
    config.update({key: full[key] for key in ("dataset", "modalities", "train_split")})
    config.batch.identities = 2
    return config


def test_one_modality_is_sampled_pictured_and_scored(tmp_path):
    config, source = tiny_market(), Market(tmp_path)
    rows = recipe.training_sampler(config, source)(0)
    assert rows.shape == (2, 1, 2)
    assert set(source.records.split[rows.ravel()]) == {"train"}

    pictured = recipe.sample_rows(config, source)
    assert len(pictured) % 2 == 0
    assert set(source.records.person_id[pictured]) == {1, 1501}

    assert validator(config, source, stages.build(config, "image", 2)) is None  # the dataset has no validation split
    benchmark = Benchmark(config, source)
    probes, gallery, hidden = benchmark.search()
    assert (len(probes), len(gallery)) == (2, 3)
    assert hidden(probes, gallery).shape == (2, 3)
    assert benchmark.protocol == "single_query"
    scores = benchmark.score(np.eye(len(benchmark.rows)))
    assert list(scores) == list(benchmark.chance()) == ["single_query_trapezoid", "single_query_hits"]
    assert all(score["probe_images"] == 2 for score in scores.values())


def test_an_iteration_on_rgb_alone():
    """Different-identity pairs of one modality, on one device; without the terms that only lengthen the compilation."""
    config = tiny_market()
    config.image.update({"start_from": "", "teacher": ""})
    config.image.weights.update({"L_dis": 0.0, "L_code_s": 0.0, "L_code_a": 0.0})
    stage = stages.build(config, "image", 2)
    shapes = jax.eval_shape(stage.init, jax.random.key(0), {})
    step, opt_state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), (shapes.step, shapes.opt_state))
    before = State(step, draw_leaves(shapes.params), draw_leaves(shapes.batch_stats), opt_state)

    train_step = jax.jit(jax.vmap(stage.train_step, (None, 0, None), axis_name=parallel.AXIS))
    batch = jax.tree.map(lambda x: x[None], drawn_batch(config, classes=2))
    after, metrics = train_step(before, batch, jax.random.key(0))
    assert {"L_simple", "L_cross", "L_id_orig", "L_id_recon", "L_adv_D", "L_adv_G"} <= set(metrics)
    assert all(np.isfinite(value).all() for value in metrics.values())
    moved = jax.tree.map(lambda old, new: np.any(old != new[0]), before.params, after.params)
    for network in ("E_s", "E_a", "G", "D", "head"):
        assert any(jax.tree.leaves(moved[network])), network
