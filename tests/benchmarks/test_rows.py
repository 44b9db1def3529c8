"""Tables of rows, from scores that are made up."""

import importlib
import json
import os

import numpy as np
import pytest

from benchmarks import rows, seeds
from configs.quickstart import embedding, methods, two_stream

SETTINGS = {"all_single": 1.0, "indoor_single": 2.0}


def scored(folder, **mAP):
    """Writes scores of systems: twice as high indoor."""
    folder.mkdir(parents=True)
    content = {
        name: {
            setting: {"cmc": [value * factor / 2], "mAP": value * factor, "mINP": value / 4}
            for setting, factor in SETTINGS.items()
        }
        for name, value in mAP.items()
    }
    about = {"dataset": "drawn", "protocol": "official", "settings": dict.fromkeys(SETTINGS, "")}
    (folder / "scores.json").write_text(json.dumps(content | about))


@pytest.fixture
def table6(tmp_path):
    for seed, offset in enumerate((0.0, 0.02, 0.04)):
        for name, row in rows.GROUPS["table6"].rows.items():
            scored(tmp_path / str(seed) / name, **{system: 0.1 + offset for system, _ in row.shows})
    return tmp_path


def test_a_row_is_averaged_over_seeds_in_its_setting(table6):
    found = rows.tabulate(table6, 3, rows.GROUPS["table6"])
    assert found["rows"]["M_bdtr"]["mAP"]["mean"] == pytest.approx(24)
    assert found["rows"]["M_bdtr"]["rank-1"]["std"] == pytest.approx(2)
    assert len(found["rows"]) == 10  # two systems of M_bdtr's kind, four rows by s and by m
    text = rows.markdown(found)
    assert "| M_bdtr | 12.00 ± 2.00 | 24.00 ± 4.00 |" in text
    assert "| L_simple + L_dis, by m | 10.00 / 20.00 | 12.00 / 24.00 | 14.00 / 28.00 |" in text
    assert "reconstruction" not in text


def test_rows_start_from_earlier_ones_of_their_seed(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(rows, "run", lambda program, *options, log: commands.append((program, *options)))
    monkeypatch.setattr(rows, "tabulate", lambda *arguments: {})
    monkeypatch.setattr(rows, "markdown", lambda figures: "")
    rows.main(["methods", "--seeds", "2", f"--workdir={tmp_path}"])
    assert [program for program, *_ in commands] == ["train.py", "train.py", "eval.py", "train.py", "eval.py"] * 2
    last = next(options for program, *options in reversed(commands) if program == "train.py")
    folder = tmp_path / "methods" / "1"
    assert f"--config.teacher.from_run={folder / 'method1'}" in last
    assert f"--config.image.transfer_from={folder / 'market'}" in last
    assert "--config.seed=1" in last

    commands.clear()
    scored(folder / "method2", trained=0.1)
    rows.main(["methods", "--seeds", "2", f"--workdir={tmp_path}"])
    assert [program for program, *_ in commands][-2:] == ["train.py", "eval.py"]
    assert f"--workdir={folder / 'method2'}" not in np.ravel(commands[-1])


def test_options_are_keys_of_the_recipes():
    config = methods.get_config("method2")
    assert "from_run" in config.teacher
    assert "transfer_from" in config.image
    assert "from_run" in embedding.get_config("simple_dis").two_stream
    assert two_stream.get_config("baseline").recipe == ("two_stream",)


@pytest.fixture
def comparators(tmp_path):
    for seed in range(2):
        for name, row in rows.GROUPS["comparators"].rows.items():
            scored(tmp_path / "comparators" / str(seed) / name, **{system: 0.1 + seed for system, _ in row.shows})
    return tmp_path


def test_the_table_of_comparators_shows_what_they_cost(comparators, monkeypatch, capsys):
    def costs(folders, rounds):
        assert {folder.parent for folder in folders} == {comparators / "comparators" / "0"}
        figures = {"seconds": 100.4, "parameters": 506384, "features_per_second": 1234.5}
        return {str(folder): figures for folder in folders}

    monkeypatch.setattr(rows, "costs", costs)
    rows.main(["comparators", "--seeds", "2", f"--workdir={comparators}"])
    table = capsys.readouterr().out
    assert "| system | rank-1 | mAP | mINP | seconds of training | parameters | features/s |" in table
    assert "| AGW | 30.00 ± 35.36 | 60.00 ± 70.71 | 15.00 ± 17.68 | 100 | 506,384 | 1,234 |" in table
    assert "| teacher | 30.00 ± 35.36 | 60.00 ± 70.71 | 15.00 ± 17.68 |  |  |  |" in table


def test_every_comparator_is_a_preset_and_starts_from_the_same_teacher():
    group = rows.GROUPS["comparators"].rows
    for name, row in group.items():
        assert row.config == f"quickstart/comparators:{name}"
        config = importlib.import_module("configs.quickstart.comparators").get_config(name)
        shares = name not in ("best", "one_stream", "zero_padding")
        assert row.options == (("--config.teacher.from_run={best}",) if shares else ())
        assert config.recipe[0] == ("teacher" if shares or name == "best" else "one_stream")
        steps = sum(config[stage].steps for stage in config.recipe if stage != "control")
        assert steps * config.batch.identities * 2 * config.batch.shots == 2_850 * 16, name
        if name == "best":
            assert config.control.steps == 450


def test_seeds_can_be_trained_at_a_time_on_their_share_of_the_cores(tmp_path, monkeypatch, capsys):
    cores = os.sched_getaffinity(0)
    shares, logs = {}, set()

    def run(program, *options, log):
        logs.add(log)
        for seed in (option for option in options if option.startswith("--config.seed=")):
            shares.setdefault(seed, set()).add(frozenset(os.sched_getaffinity(0)))

    monkeypatch.setattr(rows, "run", run)
    monkeypatch.setattr(rows, "tabulate", lambda *arguments: {})
    monkeypatch.setattr(rows, "markdown", lambda figures: "")
    rows.main(["methods", "--seeds", "2", "--jobs", "2", f"--workdir={tmp_path}"])
    assert [len(found) for found in shares.values()] == [1, 1]
    assert set().union(*(share for (share,) in map(tuple, shares.values()))) == cores
    assert os.sched_getaffinity(0) == cores  # of this thread
    assert tmp_path / "methods" / "1" / "method2.log" in logs
    assert "seed 1: method2 is done, in 0 s" in capsys.readouterr().err
    assert rows.shares_of([0, 1, 2, 3, 4], 2) == [[0, 2, 4], [1, 3]]
    assert rows.shares_of([3], 2) == [[3], [3]]
    with pytest.raises(SystemExit):
        rows.parse(["table6", "--seeds", "2", "--jobs", "3"])


@pytest.mark.parametrize("name", rows.GROUPS)
def test_rows_can_be_trained_from_the_last_one_on_but_not_before_what_they_start_from(name):
    group = rows.GROUPS[name]
    forwards, backwards = (rows.order(group, backwards=direction) for direction in (False, True))
    assert set(forwards) == set(backwards) == set(group.rows)
    for order in (forwards, backwards):
        for row in order:
            assert all(other in order[: order.index(row)] for other in order if f"{{{other}}}" in str(group.rows[row]))


def test_two_seeds_train_the_comparators_in_opposite_orders():
    group = rows.GROUPS["comparators"]
    best, *others = rows.order(group, backwards=False)
    assert [best, *others] == list(group.rows)
    assert rows.order(group, backwards=True) == [best, *reversed(others)]


def test_what_a_program_prints_can_go_to_a_file(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text("import sys; print('seen'); sys.exit('no such data')")
    monkeypatch.setattr(seeds, "ROOT", tmp_path)
    log = tmp_path / "0" / "agw.log"
    with pytest.raises(SystemExit, match=f"ended with exit code 1; its message is in {log}"):
        seeds.run("train.py", "--config=x", log=log)
    assert set(log.read_text().splitlines()) == {"seen", "no such data"}


def test_one_seed_has_no_spread(capsys):
    with pytest.raises(SystemExit):
        rows.parse(["table6", "--seeds", "1"])
    assert "gives no spread; choose 2 or more" in capsys.readouterr().err
