"""What runs cost, from a log that is made up and a network with random weights."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import costs
from tests.tiny import tiny_config
from tests.untrained import untrained


def teacher_config():
    config = tiny_config()
    config.recipe = ("teacher",)
    return config


def write_log(folder, *lines):
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_seconds_are_those_of_the_stages_that_were_trained_here(tmp_path):
    config = tiny_config()
    config.recipe = ("teacher", "image")
    config.teacher.from_run = "runs/other"
    images = config.batch.identities * 2 * config.batch.shots
    write_log(
        tmp_path / "image",
        {"step": 50, "images_per_second": 10.0},
        {"step": 80, "val/mAP": 0.5},
        {"step": 100, "images_per_second": 20.0},
    )
    assert costs.seconds_of_training(tmp_path, config) == pytest.approx(50 * images / 10 + 50 * images / 20)
    config.teacher.from_run = ""
    write_log(tmp_path / "teacher", {"step": 10, "images_per_second": 1.0})
    assert costs.seconds_of_training(tmp_path, config) == pytest.approx(50 * images * 0.15 + 10 * images)


def test_parameters_and_speed_of_a_run(tmp_path, monkeypatch, capsys):
    run = untrained(teacher_config())
    images = np.random.default_rng(0).integers(0, 256, (6, *run.config.image_size, 3), np.uint8)
    monkeypatch.setattr(costs, "load", lambda folder: run)
    monkeypatch.setattr(costs, "open_source", lambda config: SimpleNamespace(records=None))
    monkeypatch.setattr(costs.Benchmark, "of", lambda config, records: SimpleNamespace(rows=np.arange(6)))
    monkeypatch.setattr(costs, "of_rows", lambda source, rows: (lambda places: images[places], np.zeros(6, np.int32)))
    write_log(tmp_path / "teacher", {"step": 2400, "images_per_second": 100.0})
    costs.main([str(tmp_path), "--rounds", "1", "--json", str(tmp_path / "costs.json")])
    found = json.loads((tmp_path / "costs.json").read_text())["runs"][str(tmp_path)]
    leaves = [leaf for tree in run.states["teacher"].params.values() for leaf in _leaves(tree)]
    assert found["parameters"] == sum(np.size(leaf) for leaf in leaves)
    assert found["features_per_second"] > 0
    assert f"| {tmp_path} | {found['seconds']:.0f} | {found['parameters']:,} |" in capsys.readouterr().out


def _leaves(tree):
    return [leaf for branch in tree.values() for leaf in _leaves(branch)] if isinstance(tree, dict) else [tree]
