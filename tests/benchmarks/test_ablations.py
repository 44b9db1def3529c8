"""The table of ablations, from probes that are made up."""

import json

import numpy as np
import pytest

from benchmarks import ablations

PERSON = np.repeat(np.arange(40), np.arange(40) % 5 + 1)
SEEDS = (0, 1, 2)


def run_of(**precision):
    systems = {
        system: ablations.by_person(PERSON, (values > 0.5).astype(float), values)
        for system, values in precision.items()
    }
    return {"systems": systems}


@pytest.fixture
def runs():
    """Makes three seeds: `paper` is 0.1 above the control, which is noise around 0.4; its code s is below it."""
    rng = np.random.default_rng(0)
    runs = {"base": {}, "paper": {}}
    for seed in SEEDS:
        control = np.clip(0.4 + 0.1 * rng.normal(size=len(PERSON)), 0, 1)
        runs["base"][str(seed)] = run_of(teacher=control - 0.02 * rng.normal(size=len(PERSON)), control=control)
        runs["paper"][str(seed)] = run_of(trained=control + 0.1, a=control, s=control - 0.2) | {"reconstruction": 0.25}
    return runs


def test_a_difference_is_found_and_a_tie_is_not(runs):
    rows = ablations.tabulate(runs, SEEDS, ["paper"])
    assert list(rows) == ["teacher", "control", "paper", "paper, by a", "paper, by pooled s"]
    ahead = rows["paper"]["ahead"]
    assert (ahead["low"], ahead["high"]) == (pytest.approx(10, abs=1e-2), pytest.approx(10, abs=1e-2))
    np.testing.assert_allclose(ahead["seeds"], 10, atol=1e-2)
    assert rows["paper, by a"]["ahead"]["mean"] == pytest.approx(0)
    assert rows["paper, by pooled s"]["ahead"]["high"] < 0
    teacher = rows["teacher"]["ahead"]
    assert teacher["low"] < 0 < teacher["high"]
    assert rows["control"]["mAP"]["mean"] == pytest.approx(40, abs=1)


def test_means_are_over_probes_and_not_over_persons(runs):
    rows = ablations.tabulate(runs, SEEDS, ["paper"])
    for seed, ahead in enumerate(rows["teacher"]["ahead"]["seeds"]):
        figures = runs["base"][str(seed)]["systems"]
        assert ahead == pytest.approx(100 * (figures["teacher"]["mAP"] - figures["control"]["mAP"]), abs=1e-3)


def test_probes_without_a_match_do_not_count():
    values = np.array([0.5, np.nan, 1.0])
    figures = ablations.by_person(np.array([7, 7, 9]), np.array([0.0, np.nan, 1.0]), values)
    assert figures == {"rank-1": 0.5, "mAP": 0.75, "AP": {7: 0.5, 9: 1.0}, "probes": {7: 1, 9: 1}}


def test_the_table(runs):
    text = ablations.markdown(ablations.tabulate(runs, SEEDS, ["paper"]), 3)
    assert "| paper |" in text
    assert "+10.00 (+10.00 to +10.00) | 3 of 3 | 0.250 |" in text
    assert "3 seeds" in text


def test_figures_are_kept_and_their_runs_are_not_trained_again(runs, tmp_path, monkeypatch, capsys):
    file = tmp_path / "results" / "ablations.json"
    command = ["--cells", "paper", "--json", str(file), "--workdir", str(tmp_path / "runs")]
    trained = []

    def figures_of(name, seed, workdir):
        assert workdir == tmp_path / "runs"
        if len(trained) == 4:
            raise KeyboardInterrupt
        trained.append((name, seed))
        return runs[name][str(seed)]

    monkeypatch.setattr(ablations, "figures_of", figures_of)
    with pytest.raises(KeyboardInterrupt):
        ablations.main(command)
    assert set(json.loads(file.read_text())) >= {"command", "machine", "versions", "runs"}
    del trained[1:]
    ablations.main(command)
    assert trained[1:] == [("base", 2), ("paper", 2)]
    assert "| paper |" in capsys.readouterr().out
    assert json.loads(file.read_text())["rows"]["paper"]["ahead"]["mean"] == pytest.approx(10, abs=1e-2)


def test_a_cell_names_the_runs_that_it_starts_from_and_trains_them_first(tmp_path, monkeypatch):
    first = []
    monkeypatch.setattr(ablations, "figures_of", lambda name, seed, workdir: first.append((name, seed)))
    cell = ablations.started("without L_dis", 1, tmp_path)
    assert first == [("base", 1), ("paper", 1)]
    assert f"--config.teacher.from_run={tmp_path}/1/base" in cell.options
    assert f"--config.drawing.from_run={tmp_path}/1/paper" in cell.options
    assert cell.options[-1] == "--config.image.weights.L_dis=0.0"


def test_cells_have_folders_of_their_own():
    assert len({ablations.folder_name(name) for name in ablations.CELLS}) == len(ablations.CELLS)
    for wrong in (["--cells", "papre"], ["--seeds", "1"], ["--seeds", "1", "1"]):
        with pytest.raises(SystemExit):
            ablations.parse(wrong)


def test_a_cell_comes_after_the_one_it_starts_from():
    assert ablations.parse(["--cells", "without L_dis", "dgnet"]).cells == ["paper", "dgnet", "without L_dis"]
    names = list(ablations.CELLS)
    for name, cell in ablations.CELLS.items():
        assert not cell.drawing or (names.index(cell.drawing) < names.index(name))
        assert not cell.drawing or not ablations.CELLS[cell.drawing].drawing
