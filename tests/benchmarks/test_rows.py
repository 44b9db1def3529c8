"""Tables of rows, from scores that are made up."""

import json

import numpy as np
import pytest

from benchmarks import rows
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


def test_one_seed_has_no_spread(capsys):
    with pytest.raises(SystemExit):
        rows.parse(["table6", "--seeds", "1"])
    assert "gives no spread; choose 2 or more" in capsys.readouterr().err
