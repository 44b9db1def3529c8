"""The table of ablations, from probes that are made up."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ablations

pytestmark = pytest.mark.filterwarnings(r"ignore:the load_module\(\) method is deprecated:DeprecationWarning")

PERSON = np.repeat(np.arange(40), np.arange(40) % 5 + 1)
SEEDS = (0, 1, 2)


def run_of(**precision):
    figures = {
        system: ablations.by_person(PERSON, (values > 0.5).astype(float), values)
        for system, values in precision.items()
    }
    persons, _ = next(iter(figures.values()))
    return {"persons": persons, "systems": {system: figure for system, (_, figure) in figures.items()}}


@pytest.fixture
def runs():
    """Makes three seeds: `paper` is 0.1 above the control, which is noise around 0.4; its code s is below it."""
    rng = np.random.default_rng(0)
    runs = {"base": {}, "paper": {}}
    for seed in SEEDS:
        control = np.clip(0.4 + 0.1 * rng.normal(size=len(PERSON)), 0, 1)
        runs["base"][str(seed)] = run_of(teacher=control - 0.02 * rng.normal(size=len(PERSON)), control=control)
        of_paper = run_of(trained=control + 0.1, drawing=control + 0.08, a=control, s=control - 0.2)
        runs["paper"][str(seed)] = of_paper | {"reconstruction": 0.25}
    return runs


def test_a_difference_is_found_and_a_tie_is_not(runs):
    rows = ablations.tabulate(runs, SEEDS, ["paper"])
    assert list(rows) == ["teacher", "control", "paper", "paper, by a", "paper, by pooled s", "paper, after drawing"]
    ahead = rows["paper"]["than control"]
    assert (ahead["low"], ahead["high"]) == (pytest.approx(10, abs=1e-2), pytest.approx(10, abs=1e-2))
    np.testing.assert_allclose(ahead["seeds"], 10, atol=1e-2)
    assert rows["paper, by a"]["than control"]["mean"] == pytest.approx(0)
    assert rows["paper, by pooled s"]["than control"]["high"] < 0
    teacher = rows["teacher"]["than control"]
    assert teacher["low"] < 0 < teacher["high"]
    assert rows["control"]["mAP"]["mean"] == pytest.approx(40, abs=1)


def test_a_cell_is_compared_with_its_preset_and_a_code_with_its_cell(runs):
    runs["without L_dis"] = {
        seed: {"systems": {"trained": run["systems"]["a"]}, "reconstruction": 0.2}
        for seed, run in runs["paper"].items()
    }
    rows = ablations.tabulate(runs, SEEDS, ["paper", "without L_dis"])
    assert not {"than", "than cell"} & (rows["teacher"].keys() | rows["control"].keys() | rows["paper"].keys())
    for name, difference in (("without L_dis", -10), ("paper, by a", -10), ("paper, after drawing", -2)):
        assert rows[name]["than"] == "paper"
        assert rows[name]["than cell"]["mean"] == pytest.approx(difference, abs=1e-2)
        assert rows[name]["than cell"]["low"] <= difference + 1e-2
        assert rows[name]["than cell"]["high"] < 0
    text = ablations.markdown(rows, 3)
    assert "| without L_dis | " in text
    assert r"| KL(q\|\|p) | " in ablations.markdown({"KL(q||p)": rows["without L_dis"]}, 3)
    assert "| -10.00 (-10.00 to -10.00), 0 of 3 than paper | 0.200 |" in text


def test_a_generator_that_is_never_trained_has_no_reconstruction(runs):
    name = "best, L_id_orig only"
    runs |= {"best": runs["paper"], name: runs["paper"]}
    rows = ablations.tabulate(runs, SEEDS, ["best", name])
    assert "reconstruction" in rows["best"]
    assert "reconstruction" not in rows[name]


def test_means_are_over_probes_and_not_over_persons(runs):
    rows = ablations.tabulate(runs, SEEDS, ["paper"])
    for seed, ahead in enumerate(rows["teacher"]["than control"]["seeds"]):
        figures = runs["base"][str(seed)]["systems"]
        assert ahead == pytest.approx(100 * (figures["teacher"]["mAP"] - figures["control"]["mAP"]), abs=1e-3)


def test_probes_without_a_match_do_not_count():
    values = np.array([0.5, np.nan, 1.0])
    persons, figures = ablations.by_person(np.array([7, 7, 9]), np.array([0.0, np.nan, 1.0]), values)
    assert persons == {7: 1, 9: 1}
    assert figures == {"rank-1": 0.5, "mAP": 0.75, "AP": [0.5, 1.0]}


def test_the_table(runs):
    text = ablations.markdown(ablations.tabulate(runs, SEEDS, ["paper"]), 3)
    assert "| paper |" in text
    assert "| +10.00 (+10.00 to +10.00), 3 of 3 |  | 0.250 |" in text
    assert "3 seeds" in text


def test_figures_are_kept_and_their_runs_are_not_trained_again(runs, tmp_path, monkeypatch, capsys):
    file = tmp_path / "results" / "ablations.json"
    command = ["--cells", "paper", "--json", str(file), "--workdir", str(tmp_path / "runs")]
    trained = []

    def figures_of(name, seed, workdir, data_dir):
        assert (workdir, data_dir) == (tmp_path / "runs", None)
        if len(trained) == 4:
            raise KeyboardInterrupt
        trained.append((name, seed))
        chosen = ablations.config_of(*ablations.command(name, seed, workdir))
        return runs[name][str(seed)] | {"recipe": ablations.recipe(chosen)}

    monkeypatch.setattr(ablations, "figures_of", figures_of)
    with pytest.raises(KeyboardInterrupt):
        ablations.main(command)
    assert set(json.loads(file.read_text())) >= {"command", "machine", "versions", "runs"}
    del trained[1:]
    ablations.main(command)
    assert trained[1:] == [("base", 2), ("paper", 2)]
    assert "| paper |" in capsys.readouterr().out
    kept = json.loads(file.read_text())
    assert kept["rows"]["paper"]["than control"]["mean"] == pytest.approx(10, abs=1e-2)
    kept["runs"]["paper"]["1"]["recipe"] = "0" * 12
    file.write_text(json.dumps(kept))
    with pytest.raises(SystemExit, match=r"the figures of paper, seed 1, are of another recipe than today's; choose"):
        ablations.main(command)
    assert len(trained) == 3


def test_a_cell_names_the_runs_that_it_starts_from_and_trains_them_first(tmp_path, monkeypatch):
    trained = []

    def train(program, config, workdir, *options):
        folder = Path(workdir.removeprefix("--workdir="))
        folder.mkdir(parents=True)
        trained.append((str(folder.relative_to(tmp_path)), config, options))

    def score(command, check):
        *scored_on, folder = [option.partition("=")[2] for option in command[3:]]
        name = f"ablation_{Path(*scored_on).name}.json" if scored_on else "ablation.json"
        (Path(folder) / name).write_text(json.dumps(scored_on))

    monkeypatch.setattr(ablations, "run", train)
    monkeypatch.setattr(ablations.subprocess, "run", score)
    ablations.figures_of("without L_dis", 1, tmp_path)
    assert [folder for folder, *_ in trained] == ["1/base", "1/paper", "1/without_L_dis"]
    _, config, options = trained[-1]
    assert config == "--config=quickstart:paper"
    assert f"--config.teacher.from_run={tmp_path}/1/base" in options
    assert f"--config.drawing.from_run={tmp_path}/1/paper" in options
    assert options[-1] == "--config.image.weights.L_dis=0.0"
    ablations.figures_of("without L_dis", 1, tmp_path)
    assert len(trained) == 3
    others = tmp_path / "people"
    assert ablations.figures_of("without L_dis", 1, tmp_path, others) == [str(others)]
    assert ablations.figures_of("without L_dis", 1, tmp_path) == []
    assert len(trained) == 3


def test_every_cell_selects_a_config_of_its_own(tmp_path):
    """An option that is misspelt, or changes nothing, would make a cell a copy of another one."""
    recipes = {
        name: ablations.recipe(ablations.config_of(*ablations.command(name, 0, tmp_path)))
        for name in (ablations.BASE, *ablations.CELLS)
    }
    assert len(set(recipes.values())) == len(recipes)
    elsewhere = ablations.config_of(*ablations.command("best", 0, tmp_path / "elsewhere"))
    assert ablations.recipe(elsewhere) == recipes["best"]
    assert ablations.recipe(elsewhere | {"seed": 1}) != recipes["best"]


def test_cells_have_folders_of_their_own():
    assert len({ablations.folder_name(name) for name in ablations.CELLS}) == len(ablations.CELLS)
    for wrong in (["--cells", "papre"], ["--seeds", "1"], ["--seeds", "1", "1"]):
        with pytest.raises(SystemExit):
            ablations.parse(wrong)


def test_a_cell_comes_after_those_that_it_needs():
    assert ablations.parse(["--cells", "without L_dis", "dgnet"]).cells == ["paper", "dgnet", "without L_dis"]
    assert ablations.parse([]).json == Path("runs/ablations.json")
    assert ablations.parse(["--data_dir", "data/people"]).json == Path("runs/ablations_people.json")
    names = list(ablations.CELLS)
    for name, cell in ablations.CELLS.items():
        assert all(names.index(other) <= names.index(name) for other in ablations.needed(name))
        assert not cell.drawing or not ablations.CELLS[cell.drawing].drawing
