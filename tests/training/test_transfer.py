"""What a new stage takes from another run, and what it refuses. States are random; nothing is compiled."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from configs import sysu_two_stream
from rgbir_jax import stages
from rgbir_jax.commands import recipe, start
from rgbir_jax.data.contents import Contents
from rgbir_jax.datasets.dataset import Dataset
from rgbir_jax.datasets.records import Records
from rgbir_jax.errors import UserError
from rgbir_jax.models import pretrained
from rgbir_jax.origin import Facts
from rgbir_jax.training import stage as stage_module
from rgbir_jax.training import transfer
from rgbir_jax.training.checkpoints import Checkpoints
from tests.models.drawn import KEY, draw_leaves
from tests.tiny import tiny_cmpig_config, tiny_config, tiny_two_stem_config

TAKEN = {"E_s", "E_a", "G", "D"}


def drawn_state(config, classes, name="image"):
    """Returns (stage, a random state of it)."""
    stage = stages.build(config, name, classes)
    previous = {earlier: drawn_state(config, classes, earlier)[1] for earlier in stage.needs}
    state = jax.eval_shape(stage.init, KEY, previous)
    rng = np.random.default_rng(0)
    return stage, state.replace(
        step=np.int32(3),
        params=draw_leaves(state.params, rng),
        batch_stats=draw_leaves(state.batch_stats, rng),
        opt_state=jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state.opt_state),
        frozen=draw_leaves(state.frozen, rng),
    )


def market_config(preset="paper"):
    config = tiny_config(preset)
    config.modalities = (0,)
    config.image.start_from = ""
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Saves a run on five identities. Returns (its folder, the final state of its stage image)."""
    config = market_config()
    workdir = tmp_path_factory.mktemp("runs") / "market"
    _, state = drawn_state(config, classes=5)
    note_config(config, workdir)
    save_stage(workdir / "image", state)
    return str(workdir), state


def note_config(config, workdir):
    """Writes the config as a run does."""
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(json.dumps(config.to_dict()))


def save_stage(folder, state, origin=None):
    checkpoints = Checkpoints(folder / "checkpoints", origin)
    checkpoints.save(3, jax.tree.map(jnp.asarray, state))  # older versions of Orbax save no scalars of NumPy
    checkpoints.close()


def method2(run):
    config = tiny_config()
    config.data_dir = f"{run}/no_tree"  # not that of the quickstart, which has permutations of other people
    config.image.start_from = ""
    config.image.transfer_from = run
    return config


def same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_method2_takes_all_networks_but_the_heads(finished, tmp_path, capsys):
    run, saved = finished
    config = method2(run)
    stage, fresh = drawn_state(config, classes=4)
    fresh = jax.tree.map(lambda leaf: leaf + 1, fresh)
    weights = transfer.starting_weights(config, "image", stage, tmp_path / "image")
    assert set(weights["params"]) == TAKEN
    assert set(weights["batch_stats"]) == {"E_a"}

    started = transfer.start(fresh, weights)
    for network in TAKEN:
        same(started.params[network], saved.params[network])
    same(started.batch_stats["E_a"], saved.batch_stats["E_a"])
    same(started.params["head"], fresh.params["head"])
    same(started.batch_stats["head"], fresh.batch_stats["head"])
    same((started.step, started.opt_state, started.frozen), (fresh.step, fresh.opt_state, fresh.frozen))

    output = capsys.readouterr().out
    assert f"from {run}/image, iteration 3; random: head ({count(fresh.params['head']):,} parameters)" in output
    for network in TAKEN:
        assert f"{network} ({count(fresh.params[network]):,} parameters)" in output


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("network", "changes", "message"),
    [
        ("E_s", {"width": 3}, r"it has params/E_s/\S+ of shape \(.*\), this config makes params/E_s/\S+ of shape"),
        ("D", {"num_scales": 2}, r"it has no params/D/scale_1/\S+, this config makes params/D/scale_1"),
        ("E_a", {"blocks": (1, 1, 1, 2)}, r"it has no batch_stats/E_a/trunk/layer4_1_bn1/mean"),
        ("E_a", {"slices": "channel"}, r"there config.image.networks.E_a.slices is part, here it is channel"),
    ],
)
def test_networks_that_do_not_fit_are_named(finished, tmp_path, network, changes, message):
    run, _ = finished
    config = method2(run)
    config.image.networks[network].update(changes)
    with pytest.raises(ValueError, match=message):
        transfer.starting_weights(config, "image", stages.build(config, "image", 4), tmp_path)


def test_a_lost_config_is_named_or_the_checkpoint_s_own_is_used(finished, tmp_path):
    run, state = finished
    config = method2(str(tmp_path))
    save_stage(tmp_path / "image", state)
    stage = stages.build(config, "image", 4)
    with pytest.raises(UserError, match=rf"{tmp_path}/config.json is missing; copy it from a backup, or train"):
        transfer.starting_weights(config, "image", stage, tmp_path / "new")
    shutil.rmtree(tmp_path / "image")
    save_stage(tmp_path / "image", state, {"config": method2(run).to_dict()})
    assert transfer.starting_weights(config, "image", stage, tmp_path / "new")["params"].keys() == set(TAKEN)


def test_a_missing_run_is_named(tmp_path):
    config = method2(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"nowhere/image has no checkpoint: config.image.transfer_from names no run"):
        transfer.starting_weights(config, "image", stages.build(config, "image", 4), tmp_path)
    (tmp_path / "nowhere" / "image" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ValueError, match="has no checkpoint: "):
        transfer.starting_weights(config, "image", stages.build(config, "image", 4), tmp_path)


@pytest.fixture
def broken_run(tmp_path, monkeypatch):
    """Returns a function that saves a run with one NaN network and returns (its folder, the stage to start)."""
    monkeypatch.setattr(Checkpoints, "check", lambda self, step, state: None)

    def save_run(network):
        config, run = market_config(), tmp_path / "broken"
        note_config(config, run)
        _, state = drawn_state(config, classes=5)
        broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), state.params[network])
        save_stage(run / "image", state.replace(params=state.params | {network: broken}))
        return str(run), stages.build(config, "image", 4)

    return save_run


def test_a_run_of_nan_is_refused(broken_run, tmp_path):
    run, stage = broken_run("G")
    with pytest.raises(ValueError, match=rf"{run}/image/checkpoints/3 is damaged: params/G/\S+ is not finite"):
        transfer.starting_weights(method2(run), "image", stage, tmp_path / "image")


def test_nan_in_a_network_that_is_not_taken_is_ignored(broken_run, tmp_path):
    run, stage = broken_run("head")
    assert set(transfer.starting_weights(method2(run), "image", stage, tmp_path / "image")["params"]) == TAKEN


def test_two_starts_are_refused(finished, tmp_path):
    config = method2(finished[0])
    config.image.start_from = "teacher"
    with pytest.raises(ValueError, match=r"config.image.transfer_from and config.image.start_from both say"):
        transfer.starting_weights(config, "image", stages.build(config, "image", 4), tmp_path)


def test_nothing_is_read_if_there_is_a_checkpoint(tmp_path, capsys):
    config = method2(str(tmp_path / "nowhere"))
    config.resnet50 = str(tmp_path / "nowhere.pth")
    for name in config.recipe:
        stage, state = drawn_state(config, 4, name)
        save_stage(tmp_path / name, state)
        assert transfer.starting_weights(config, name, stage, tmp_path / name) == {}
    config.teacher.from_run = "elsewhere"
    assert transfer.starting_weights(config, "teacher", stages.build(config, "teacher", 4), tmp_path / "new") == {}
    assert not capsys.readouterr().out


@pytest.fixture
def imagenet(monkeypatch):
    """Replaces the reading of ImageNet weights: every number of every tensor is 7."""

    def load(path, like):
        assert path == "imagenet.pth"
        return jax.tree.map(lambda leaf: np.full(leaf.shape, 7, leaf.dtype), like)

    monkeypatch.setattr(pretrained, "load_resnet50", load)


def two_stream_config():
    config = sysu_two_stream.get_config()
    config.image_size = (32, 16)
    config.two_stream.networks.stream.update({"width": 4, "blocks": (1, 1, 1, 1)})
    config.two_stream.networks.head.bottleneck = 8
    return config


@pytest.mark.parametrize(
    ("config", "name", "networks"),
    [
        (market_config(), "teacher", {"E_a"}),
        (market_config(), "image", {"E_a"}),
        (two_stream_config(), "two_stream", {"rgb", "ir"}),
        (tiny_two_stem_config("rle"), "rle", {"rgb", "ir", "body"}),
    ],
)
def test_every_trunk_starts_from_imagenet(imagenet, tmp_path, capsys, config, name, networks):
    config.resnet50 = "imagenet.pth"
    stage, fresh = drawn_state(config, 4, name)
    started = transfer.start(fresh, transfer.starting_weights(config, name, stage, tmp_path))
    for kind in ("params", "batch_stats"):
        before, after = getattr(fresh, kind), getattr(started, kind)
        assert jax.tree.structure(before) == jax.tree.structure(after)
        for network in before:
            if network in networks:
                assert all((leaf == 7).all() for leaf in jax.tree.leaves(after[network]))
            else:
                same(after[network], before[network])
    assert capsys.readouterr().out == f"{name}: the ResNet of {' and '.join(sorted(networks, reverse=True))} " + (
        "starts from imagenet.pth.\n"
    )
    leaves = [id(leaf) for leaf in flatten_dict(started.params).values()]
    assert len(leaves) == len(set(leaves))  # they are donated, so no two may share a buffer


def test_non_local_blocks_stay_fresh(tmp_path, monkeypatch):
    """An ImageNet file has none, so `load_resnet50` gives none."""

    def load(path, like):
        seven = jax.tree.map(lambda leaf: np.full(leaf.shape, 7, leaf.dtype), like)
        return {
            kind: {name: tree for name, tree in modules.items() if "non_local" not in name}
            for kind, modules in seven.items()
        }

    monkeypatch.setattr(pretrained, "load_resnet50", load)
    config = tiny_two_stem_config("agw")
    config.resnet50 = "imagenet.pth"
    stage, fresh = drawn_state(config, 4, "agw")
    started = transfer.start(fresh, transfer.starting_weights(config, "agw", stage, tmp_path))
    assert jax.tree.structure(started) == jax.tree.structure(fresh)
    for name, tree in started.params["body"]["trunk"].items():
        if "non_local" in name:
            same(tree, fresh.params["body"]["trunk"][name])
        else:
            assert all((leaf == 7).all() for leaf in jax.tree.leaves(tree))


def test_a_frozen_resnet_starts_from_imagenet(imagenet, tmp_path, capsys):
    config = tiny_cmpig_config()
    config.resnet50 = "imagenet.pth"
    stage, fresh = drawn_state(config, 4, "generation")
    started = transfer.start(fresh, transfer.starting_weights(config, "generation", stage, tmp_path))
    assert jax.tree.structure(started) == jax.tree.structure(fresh)
    assert all((leaf == 7).all() for leaf in jax.tree.leaves(started.frozen))
    same(started.params, fresh.params)
    assert capsys.readouterr().out == "generation: the ResNet of E_sl and E_il starts from imagenet.pth.\n"
    transfer.check_resnet50("imagenet.pth", {"generation": stage})
    # The second stage takes it from the first one.
    second, _ = drawn_state(config, 4, "cmpig")
    assert transfer.starting_weights(config, "cmpig", second, tmp_path) == {}


def test_a_stage_that_starts_from_an_earlier_one_does_not_take_imagenet(tmp_path):
    config = tiny_config()
    config.resnet50 = "nowhere.pth"
    assert config.image.start_from == "teacher"
    assert transfer.starting_weights(config, "image", stages.build(config, "image", 4), tmp_path) == {}


def test_a_random_start_is_printed(tmp_path, capsys):
    config = market_config()
    assert transfer.starting_weights(config, "teacher", stages.build(config, "teacher", 4), tmp_path) == {}
    assert capsys.readouterr().out.startswith("teacher: the ResNet of E_a starts from random weights;")


class Drawn:
    """Four training identities and one test identity, two black images of each per modality."""

    records = Records(
        path=np.array([f"{i:02}.jpg" for i in range(20)]),
        person_id=np.repeat(np.arange(1, 6, dtype=np.int32), 4),
        camera=np.tile(np.array([1, 1, 3, 3], np.int32), 5),
        index=np.tile(np.array([1, 2, 1, 2], np.int32), 5),
        modality=np.tile(np.array([0, 0, 1, 1], np.int32), 5),
        split=np.array(["train"] * 16 + ["test"] * 4),
    )
    image_size = (64, 32)

    field = "image"

    def read(self, rows):
        return np.zeros((len(rows), *self.image_size, 3), np.uint8)

    def stream(self, rows, start):
        raise AssertionError("nothing is trained here")


def drawn_weights(key, networks):
    """Draws weights like `state.initialise`, but compiles nothing."""
    shapes = {network: spec.shapes()[0] for network, spec in networks.items()}
    return tuple(
        draw_leaves({network: kinds[kind] for network, kinds in shapes.items() if kind in kinds})
        for kind in ("params", "batch_stats")
    )


@pytest.fixture
def initial_states(monkeypatch):
    """Replaces training. Returns the initial states of the stages that a recipe would train."""
    states = {}

    def fit(stage, state, batches, key, config, directory, **others):
        states[directory.name] = state
        save_stage(directory, state)

    def note_run(config, folder, contents, records):
        note_config(config, folder)
        return Facts.now(contents, config, "", "")

    monkeypatch.setattr(Dataset, "read_with", lambda dataset, root, config: Drawn.records)
    monkeypatch.setattr(recipe, "_open", lambda config, folder, records: (Drawn(), Contents(people=[1, 2, 3, 4])))
    monkeypatch.setattr(start, "note_run", note_run)
    monkeypatch.setattr(start, "say_faults", lambda config, records: None)  # the images have no files
    monkeypatch.setattr(recipe, "fit", fit)
    monkeypatch.setattr(recipe.compilation, "prepare", lambda: None)
    monkeypatch.setattr(stage_module, "initialise", drawn_weights)
    return states


def test_what_does_not_fit_is_refused_before_anything_is_trained(finished, tmp_path, initial_states):
    """It is refused before the run's config is written, so that the same workdir can be used with a corrected one."""
    config = method2(finished[0])
    config.image.networks.G.mlp = 9
    with pytest.raises(ValueError, match="does not fit: it has params/G"):
        recipe.train(config, str(tmp_path / "run"))
    assert not initial_states
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_recipe_trains_from_its_starting_weights(finished, tmp_path, initial_states, monkeypatch):
    run, saved = finished
    config = method2(run)
    config.recipe = ("teacher", "image")
    config.teacher.from_run = str(tmp_path / "teacher")
    _, teacher = drawn_state(config, 4, "teacher")
    save_stage(tmp_path / "teacher" / "teacher", teacher)
    monkeypatch.setattr(start, "check_taken", lambda *arguments: None)  # that folder has no run.json
    recipe.train(config, str(tmp_path / "run"))
    assert initial_states.keys() == {"image"}
    for network in TAKEN:
        same(initial_states["image"].params[network], saved.params[network])
    assert initial_states["image"].params["head"]["classifier"]["kernel"].shape == (8, 4)
    same(initial_states["image"].frozen["teacher"]["params"], teacher.params)
