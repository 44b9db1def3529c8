"""Every recipe of configs/ builds at its full size. Only shapes are computed."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

import configs
from configs import market_image, quickstart, sysu_embedding
from rgbir_jax import stages
from rgbir_jax.commands import recipe
from rgbir_jax.commands.describe import describe
from rgbir_jax.datasets import LLCM, REGDB
from rgbir_jax.datasets.market1501 import read as read_market1501
from rgbir_jax.datasets.sysu_mm01 import read as read_sysu_mm01
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.benchmark import Benchmark, validation
from rgbir_jax.evaluation.evaluate import chance, evaluate
from rgbir_jax.training import parallel, transfer
from rgbir_jax.training.state import State
from tests.conftest import MARKET_NAMES, write_image
from tests.models.drawn import draw_leaves
from tests.tiny import drawn_batch, tiny_config

PRESETS = {
    "quickstart": ("best", "paper", "dgnet", "released"),
    "quickstart.market": ("paper", "dgnet"),
    "quickstart.showcase": ("best", "paper", "dgnet"),
    "quickstart.methods": ("method1", "method2"),
    "quickstart.two_stream": ("bdtr", "baseline"),
    "quickstart.comparators": (
        "agw",
        "base",
        "caj",
        "rle",
        "deen",
        "best",
        "paper",
        "bdtr",
        "sdl",
        "cmpig",
        "hicmd",
        "cmgan",
        "one_stream",
        "zero_padding",
    ),
    "quickstart.embedding": ("simple_dis", "simple_dis_cross", "random_triplet", "hard_triplet"),
    "quickstart.regdb": ("teacher", "image", "two_stream"),
    "quickstart.llcm": ("teacher", "image", "two_stream"),
    "quickstart.own_folders": ("teacher", "image", "two_stream"),
    "own_folders": ("paper", "best", "dgnet", "released", "market", "teacher"),
    "regdb_image": ("paper", "best", "dgnet", "released", "market", "teacher"),
    "regdb_two_stream": ("bdtr", "baseline", "batch32"),
    "regdb_sdl": ("paper", "released"),
    "regdb_cmpig": ("paper", "released"),
    "regdb_agw": ("agw", "base"),
    "regdb_caj": ("caj", "weighted"),
    "regdb_rle": ("rle", "base"),
    "regdb_deen": ("deen", "plain"),
    "llcm_image": ("paper", "best", "dgnet", "released", "market", "teacher"),
    "llcm_two_stream": ("bdtr", "baseline", "batch32"),
    "llcm_agw": ("agw", "base"),
    "llcm_caj": ("caj", "weighted"),
    "llcm_rle": ("rle", "base"),
    "llcm_deen": ("deen", "plain"),
    "sysu_image": ("paper", "best", "dgnet", "released", "market", "teacher"),
    "sysu_two_stream": ("bdtr", "baseline", "batch32"),
    "sysu_zero_padding": ("resnet50", "resnet6", "one_stream", "one_stream_grey"),
    "sysu_sdl": ("paper", "released"),
    "sysu_cmpig": ("paper", "released"),
    "sysu_agw": ("agw", "base"),
    "sysu_caj": ("caj", "weighted"),
    "sysu_rle": ("rle", "base"),
    "sysu_deen": ("deen", "plain"),
    "sysu_hicmd": ("paper", "released"),
    "regdb_hicmd": ("paper", "released"),
    "sysu_embedding": ("simple_dis", "simple_dis_cross", "random_triplet", "hard_triplet"),
    "market_image": ("paper", "dgnet"),
}
WITHOUT_PRESETS = ("quickstart.judge", "sysu_cmgan")
CLASSES = 395


def get_config(name):
    return importlib.import_module(f"configs.{name}").get_config


def test_every_file_is_tested_here():
    root = Path(configs.__file__).parent
    names = {path.relative_to(root).with_suffix("").as_posix().replace("/", ".") for path in root.rglob("*.py")}
    shared = {"__init__", "common", "two_stem", "quickstart.systems"}
    assert {name.removesuffix(".__init__") for name in names} == {*PRESETS, *WITHOUT_PRESETS, *shared}


@pytest.mark.parametrize(
    ("name", "presets"),
    [(name, [preset]) for name in PRESETS for preset in PRESETS[name]] + [(name, []) for name in WITHOUT_PRESETS],
)
def test_every_stage_builds(name, presets):
    config = get_config(name)(*presets)
    previous = {}
    for stage_name in config.recipe:
        stage = stages.build(config, stage_name, CLASSES)
        assert set(stage.needs) <= set(previous)
        assert not stage.reads or stage.reads in previous
        state = jax.eval_shape(stage.init, jax.random.key(0), previous)
        grouped = [network for group in stage.groups.values() for network in group.networks]
        assert sorted(grouped) == sorted(stage.networks) == sorted(state.params)
        assert max(config[stage_name].decay.at, default=0) < config[stage_name].steps
        previous[stage_name] = state


@pytest.mark.parametrize("name", PRESETS)
def test_the_default_is_the_documented_one(name):
    assert get_config(name)() in [get_config(name)(preset) for preset in PRESETS[name]]


@pytest.mark.parametrize("name", PRESETS)
def test_an_unknown_preset_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r'"typo" is unknown; choose') as error:
        get_config(name)("typo")
    for preset in set(PRESETS[name]) - {"market"}:
        assert preset in str(error.value)


def test_method2_starts_from_what_market_trains():
    """The networks are the same, and the folder is the one in the commands of market_image's docstring."""
    market, method2 = market_image.get_config(), get_config("sysu_image")("market")
    assert method2.image.networks == market.image.networks
    commands = market_image.__doc__ or ""
    assert f"--workdir {method2.image.transfer_from} " in commands
    assert "--config configs/sysu_image.py:market " in commands
    method2.image.transfer_from = ""
    assert method2 == get_config("sysu_image")("paper")


@pytest.mark.parametrize(("name", "dataset"), [("regdb", REGDB), ("llcm", LLCM)])
def test_recipes_of_the_other_datasets(name, dataset):
    """All systems train on everybody who may train, with the protocol of the dataset; RegDB's have a fold."""
    for recipe_name in (f"{name}_image", f"{name}_two_stream", f"quickstart.{name}"):
        config = get_config(recipe_name)()
        assert (config.dataset, config.protocol) == (dataset.name, dataset.protocols[0])
        assert config.get("fold") == (1 if "fold" in dataset.options else None)
    teacher, two_stream = get_config(f"{name}_image")("teacher"), get_config(f"{name}_two_stream")()
    assert teacher.recipe == ("teacher",)
    assert two_stream.two_stream.steps == teacher.teacher.steps
    assert two_stream.two_stream.decay == teacher.teacher.decay


@pytest.mark.parametrize(
    ("name", "identities", "steps", "warmup", "drops"),
    [
        ("agw", 8, 56_376, 6_960, (13_920, 34_800)),
        ("caj", 8, 69_600, 6_960, (13_920, 34_800)),
        ("rle", 6, 140_128, 9_280, (18_560, 74_240, 111_360)),
        ("deen", 6, 140_128, 9_280, (18_560, 74_240)),
    ],
)
def test_schedules_of_the_two_stem_systems(name, identities, steps, warmup, drops):
    config = get_config(f"sysu_{name}")()
    stage = config[name]
    assert (config.batch.identities, config.batch.shots, config.protocol) == (identities, 4, "agw")
    assert (stage.steps, stage.decay.warmup, stage.decay.at) == (steps, warmup, drops)
    rates = {group: own.learning_rate for group, own in stage.optimizers.items()}
    assert rates == {"trunk": 0.01, "head": 0.1}
    for dataset in ("regdb", "llcm"):
        other = get_config(f"{dataset}_{name}")()
        assert other[name].weights == stage.weights
        assert other.protocol == {"regdb": REGDB, "llcm": LLCM}[dataset].protocols[0]
        assert other[name].steps * warmup == steps * other[name].decay.warmup  # as many epochs


def test_the_small_methods_differ_only_in_what_they_start_from():
    method1, method2 = (get_config("quickstart.methods")(preset) for preset in ("method1", "method2"))
    assert method2.image.networks == get_config("quickstart.market")().image.networks
    assert (method1.image.start_from, method1.image.transfer_from) == ("teacher", "")
    assert (method2.image.start_from, method2.image.transfer_from) == ("", "runs/quickstart_market")
    method2.image.update({"start_from": "teacher", "transfer_from": ""})
    assert method1 == method2


class Market:
    """A tiny dataset in the tree of Market-1501. Its images are noise."""

    image_size: tuple[int, int] = (64, 32)

    def __init__(self, root):
        for seed, (folder, name) in enumerate((f, n) for f, names in MARKET_NAMES.items() for n in names):
            write_image(root / folder / name, seed)
        self.records = read_market1501(root)

    def read(self, rows):
        return np.random.default_rng(0).integers(0, 256, (len(rows), *self.image_size, 3), np.uint8)

    field = "image"

    def stream(self, rows, start):
        raise AssertionError("not used in this test")


def tiny_market():
    config = tiny_config()
    full = market_image.get_config()
    config.update({key: full[key] for key in ("dataset", "modalities", "train_split", "protocol")})
    config.batch.identities = 2
    return config


def test_one_modality_is_sampled_pictured_and_scored(tmp_path):
    config, source = tiny_market(), Market(tmp_path)
    rows = recipe.training_sampler(config, source.records)(0)
    assert rows.shape == (2, 1, 2)
    assert set(source.records.split[rows.ravel()]) == {"train"}

    sample = recipe.sample_rows(config, source.records)
    assert len(sample) % 2 == 0
    assert set(source.records.person_id[sample]) == {1, 1501}

    assert validation(config, source.records) is None  # the dataset has no validation split
    benchmark = Benchmark.of(config, source.records)
    table, search = benchmark.records, benchmark.searches[0]
    probes, gallery = table.select(search.probes), table.select(search.galleries[0])
    assert (len(probes), len(gallery)) == (2, 3)
    assert search.hidden(probes, gallery).shape == (2, 3)
    scores = evaluate(np.eye(len(benchmark.rows)), benchmark.records, benchmark.searches)
    by_chance = chance(benchmark.records, benchmark.searches)
    assert list(scores) == list(by_chance) == ["single_query_trapezoid", "single_query_hits"]
    assert all(score["probe_images"] == 2 for score in scores.values())


def test_an_unknown_protocol_is_refused_before_anything_is_read(tmp_path):
    config = tiny_market()
    config.protocol, config.data_dir = "official", "nowhere"
    for refuse in (describe, lambda config: recipe.train(config, str(tmp_path / "run"))):
        with pytest.raises(UserError, match=r'--protocol.* "official" is unknown; choose "single_query"'):
            refuse(config)


def test_an_iteration_on_rgb_only():
    """Pairs different identities of one modality on one device, without terms that only lengthen the compilation."""
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
    has_changed = jax.tree.map(lambda old, new: np.any(old != new[0]), before.params, after.params)
    for network in ("E_s", "E_a", "G", "D", "head"):
        assert any(jax.tree.leaves(has_changed[network])), network


@pytest.mark.parametrize(
    ("recipe_of", "stage", "key", "value", "message"),
    [
        (
            quickstart,
            "image",
            "image.teacher_kl",
            "p|q",
            r'config.image.teacher_kl "p\|q" is unknown; choose "p\|\|q" or',
        ),
        (quickstart, "image", "image.adversarial", "wgan", 'config.image.adversarial "wgan" is unknown; choose "bce"'),
        (
            quickstart,
            "image",
            "image.networks.E_a.slices",
            "rows",
            'E_a.slices "rows" is unknown; choose "part"',
        ),
        (quickstart, "image", "image.networks.recognises", "a", 'recognises "a" is unknown; choose "appearance"'),
        (quickstart, "teacher", "teacher.networks.E_a.pool", "sum", 'networks.E_a.pool "sum" is unknown; choose "max"'),
        (
            quickstart,
            "teacher",
            "teacher.networks.E_a.kind",
            "vit",
            'E_a.kind "vit" is unknown; choose "resnet50"',
        ),
        (
            quickstart,
            "teacher",
            "teacher.optimizers.head.kind",
            "lion",
            'kind "lion" is unknown; choose "adam"',
        ),
        (quickstart, "teacher", "teacher.stage", "clasifier", 'config.teacher.stage "clasifier" is unknown; choose'),
        (quickstart, "image", "batch.shots", 1, "config.batch.shots = 1 leaves no second image of an identity"),
        (quickstart, "teacher", "dtype", "float8", 'config.dtype "float8" is unknown; choose "bfloat16"'),
        (sysu_embedding, "embedding", "embedding.triplets", "easy", 'config.embedding.triplets "easy" is unknown'),
    ],
)
def test_a_value_that_a_stage_does_not_know_is_refused(recipe_of, stage, key, value, message):
    config = recipe_of.get_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message):
        stages.build(config, stage, CLASSES)


@pytest.mark.parametrize(("key", "value"), [("train_split", "test"), ("protocol", "ours"), ("dataset", "cuhk03")])
def test_a_value_that_the_data_does_not_know_is_refused(sysu_root, key, value):
    config = quickstart.get_config()
    records = read_sysu_mm01(sysu_root)
    config[key], config.data_dir = value, str(sysu_root)

    def use():
        stages.check_recipe(config)
        recipe.training_sampler(config, records)
        Benchmark.of(config, records)

    with pytest.raises(UserError, match=rf"config.{key} .* is unknown; choose"):
        use()


def test_an_imagenet_file_without_a_resnet50_is_refused():
    config = quickstart.get_config()
    for name in config.recipe:
        E_a = config[name].networks.E_a
        config[name].networks.E_a = {
            "kind": "examples.mobilenet:MobileNet",
            "width": 4,
            "slices": "part",
            "pool": E_a.pool,
        }
    built = {name: stages.build(config, name, CLASSES) for name in config.recipe}
    transfer.check_resnet50("", built)
    with pytest.raises(
        UserError, match=r"resnet50 is resnet50.pth, but no network of teacher, control, drawing, image has"
    ):
        transfer.check_resnet50("resnet50.pth", built)
