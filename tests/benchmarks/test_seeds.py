"""Tables over seeds, from run folders that the tests write; nothing is trained."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import seeds

# ml_collections loads config files by a method that Python deprecates.
pytestmark = pytest.mark.filterwarnings(r"ignore:the load_module\(\) method is deprecated:DeprecationWarning")

ROOT = Path(__file__).parents[2]
RECIPE = """
from ml_collections import ConfigDict

def get_config():
    stages = {name: {"from_run": "", "steps": 4} for name in ("teacher", "image")}
    return ConfigDict({"seed": 0, "recipe": tuple(stages), **stages})
"""


def setting(rank1: float, mean_ap: float) -> dict:
    return {"cmc": [rank1, 0.9], "mAP": mean_ap, "std": {"rank1": 0.1, "mAP": 0.1}, "trials": []}


def scores(**systems: tuple[float, float]) -> dict:
    """Makes the content of scores.json: (rank-1, mAP) of each system in all_single, half of that in all_multi."""
    head = {"protocol": "official", "dataset": "sysu_mm01 (drawn)", "steps": 4, "controls": []}
    return head | {
        name: {"all_single": setting(*values), "all_multi": setting(*(value / 2 for value in values))}
        for name, values in systems.items()
    }


def write(folder: Path, content: dict) -> Path:
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def three_seeds(tmp_path):
    """Writes three scored runs in which `trained` is ahead of the teacher in rank-1, and in mAP within the spread."""
    contents = [
        scores(chance=(0.03, 0.07), teacher=(0.20, 0.30), control=(0.50, 0.6), trained=(0.25, 0.30)),
        scores(chance=(0.03, 0.07), teacher=(0.22, 0.28), control=(0.49, 0.6), trained=(0.26, 0.30)),
        scores(chance=(0.03, 0.07), teacher=(0.24, 0.31), control=(0.48, 0.6), trained=(0.30, 0.30)),
    ]
    for seed, content in enumerate(contents):
        content["reconstruction"] = {"l1": 0.3 + seed / 10, "mean_image": 0.8}
    return [write(tmp_path / str(seed), content) for seed, content in enumerate(contents)]


def rows(text: str) -> dict[str, list[str]]:
    """Returns the cells of the lines of all tables, by their first cell; the last line with that cell counts."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {first: rest for first, *rest in lines}


def test_figures_are_means_and_sample_deviations_over_the_seeds(three_seeds):
    measured = seeds.tabulate(three_seeds)
    assert measured["setting"] == "all_single"
    assert list(measured["systems"]) == ["chance", "teacher", "control", "trained"]
    rank1 = measured["systems"]["trained"]["rank-1"]
    assert rank1["seeds"] == pytest.approx([25, 26, 30])
    assert rank1["mean"] == pytest.approx(27)
    assert rank1["std"] == pytest.approx(np.sqrt((4 + 1 + 9) / 2))
    assert measured["systems"]["chance"]["mAP"]["std"] == pytest.approx(0)
    assert measured["differences"]["trained - teacher"]["rank-1"]["seeds"] == pytest.approx([5, 4, 6])
    assert measured["differences"]["trained - teacher"]["rank-1"]["std"] == pytest.approx(1)
    assert measured["reconstruction"]["l1"]["mean"] == pytest.approx(0.4)
    assert measured["reconstruction"]["l1"]["std"] == pytest.approx(0.1)


def test_another_setting(three_seeds):
    assert seeds.tabulate(three_seeds, "all_multi")["systems"]["trained"]["rank-1"]["mean"] == pytest.approx(13.5)
    with pytest.raises(SystemExit, match=r"has no scores indoor; --setting can be all_single, all_multi\."):
        seeds.tabulate(three_seeds, "indoor")


def test_the_printed_tables(three_seeds):
    text = seeds.markdown(seeds.tabulate(three_seeds), "configs/x.py")
    above, below = text.split("## Each seed")
    assert "configs/x.py, 3 seeds" in above
    assert "sysu_mm01 (drawn), protocol official, all_single, in %" in above
    assert "sample standard deviation over the seeds (divided by n - 1)" in above
    assert rows(above)["trained"] == ["27.00 ± 2.65", "30.00 ± 0.00"]
    assert rows(below)["teacher"] == ["20.00 / 30.00", "22.00 / 28.00", "24.00 / 31.00"]
    assert rows(below)["trained - teacher"] == ["5.00 ± 1.00", "0.33 ± 1.53"]
    assert "Of trained and teacher, in rank-1 trained is ahead by 5.00 points" in below
    assert "and in mAP the difference is within the spread" in below
    assert "Of trained and control, in rank-1 control is ahead by 22.00 points" in below
    assert "L1 of the test people's reconstructions 0.4000 ± 0.1000, of the mean image 0.8000 ± 0.0000." in below


def test_systems_that_a_run_lacks_are_left_out(tmp_path):
    folders = [write(tmp_path / str(seed), scores(chance=(0.1, 0.1), trained=(0.2, 0.3))) for seed in range(2)]
    text = seeds.markdown(seeds.tabulate(folders), "configs/x.py")
    assert set(rows(text)) == {"system", "---", "chance", "trained"}
    assert "Differences" not in text
    assert "Reconstruction" not in text


def test_runs_scored_by_different_versions_are_refused(tmp_path, three_seeds):
    older = write(tmp_path / "older", scores(chance=(0.1, 0.1), trained=(0.2, 0.3)))
    with pytest.raises(SystemExit, match=f"{older} does not have the systems of .*: eval.py --workdir {older}"):
        seeds.tabulate([*three_seeds, older])


@pytest.fixture
def config(tmp_path) -> str:
    """Writes a config file with the keys that this program reads."""
    path = tmp_path / "small.py"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture
def programs(monkeypatch):
    """Replaces train.py and eval.py: records the calls and writes the files of a finished run."""
    called = []

    def run(program, *options):
        called.append((program, *options))
        flags = dict(option.lstrip("-").split("=", 1) for option in options)
        folder = Path(flags["workdir"])
        if program == "train.py":
            finish(folder, int(flags["config.seed"]), int(flags.get("config.image.steps", 4)))
        else:
            seed = int(folder.name)
            (folder / "scores.json").write_text(json.dumps(scores(trained=(0.2 + seed / 100, 0.3))))

    monkeypatch.setattr(seeds, "run", run)
    return called


def finish(folder: Path, seed: int, steps: int = 4) -> None:
    """Writes the config and the last checkpoints of a trained run of `RECIPE`."""
    stages = {"teacher": {"from_run": "", "steps": 4}, "image": {"from_run": "", "steps": steps}}
    for name, stage in stages.items():
        (folder / name / "checkpoints" / str(stage["steps"])).mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"seed": seed, "recipe": list(stages), **stages}))


def test_every_seed_is_trained_then_scored_and_not_a_second_time(tmp_path, config, programs, capsys):
    command = [config, "--seeds=2", f"--workdir={tmp_path}", f"--json={tmp_path / 'out.json'}"]
    seeds.main(command)
    expected = []
    for seed in range(2):
        expected.append(
            ("train.py", f"--config={config}", f"--config.seed={seed}", f"--workdir={tmp_path / str(seed)}")
        )
        expected.append(("eval.py", f"--workdir={tmp_path / str(seed)}"))
    assert programs == expected
    printed = capsys.readouterr().out
    assert rows(printed.split("## Each")[0])["trained"] == ["20.50 ± 0.71", "30.00 ± 0.00"]
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["command"].startswith(f"python -m benchmarks.seeds {config} --seeds=2 ")
    assert "jax " in written["versions"]
    assert written["systems"]["trained"]["rank-1"]["seeds"] == pytest.approx([20, 21])

    programs.clear()
    seeds.main(command)
    assert programs == []
    again = capsys.readouterr()
    assert again.out == printed
    assert f"seed 1 is trained and scored in {tmp_path / '1'}; skipped." in again.err

    seeds.main([config, "--seeds=3", f"--workdir={tmp_path}"])
    assert [program for program, *_ in programs] == ["train.py", "eval.py"]
    assert f"--workdir={tmp_path / '2'}" in programs[0]


def test_options_go_to_training_and_other_configs_are_not_skipped(tmp_path, config, programs):
    command = [config, "--seeds=2", f"--workdir={tmp_path}"]
    seeds.main(command)
    programs.clear()
    seeds.main([*command, "--", "--config.image.steps=6"])
    assert [program for program, *_ in programs] == ["train.py", "eval.py"] * 2
    assert all(options[-1] == "--config.image.steps=6" for program, *options in programs if program == "train.py")
    programs.clear()
    seeds.main([*command, "--", "--config.image.steps=6"])
    assert programs == []
    seeds.main([*command, "--", "--config.image.setps=6"])  # train.py refuses it: tests/end_to_end/test_arguments.py
    assert programs[0][0] == "train.py"


def test_half_trained_or_scored_too_early_is_not_done(tmp_path, config, programs):
    seeds.main([config, "--seeds=2", f"--workdir={tmp_path}"])
    programs.clear()
    (tmp_path / "0" / "image" / "checkpoints" / "4").rename(tmp_path / "0" / "image" / "checkpoints" / "2")
    checkpoint = tmp_path / "1" / "image" / "checkpoints" / "4"
    later = (tmp_path / "1" / "scores.json").stat().st_mtime + 10
    os.utime(checkpoint, (later, later))
    seeds.main([config, "--seeds=2", f"--workdir={tmp_path}"])
    assert [program for program, *_ in programs] == ["train.py", "eval.py"] * 2


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("quickstart", "quickstart"),
        ("quickstart:dgnet", "quickstart_dgnet"),
        ("quickstart/two_stream", "quickstart_two_stream"),
        ("quickstart/two_stream:baseline", "quickstart_two_stream_baseline"),
        ("configs/quickstart/__init__.py", "quickstart"),
        ("configs/quickstart/two_stream.py:baseline", "quickstart_two_stream_baseline"),
        ("sysu_image", "sysu_image"),
    ],
)
def test_the_workdir_is_named_after_the_recipe_and_its_preset(monkeypatch, config, name):
    monkeypatch.chdir(ROOT)
    assert seeds.parse([config])[0].workdir == Path("runs/seeds", name)


def test_the_workdir_is_named_after_the_users_own_file(config):
    assert seeds.parse([f"{config}:preset"])[0].workdir == Path("runs/seeds/small_preset")


def test_a_run_of_a_shipped_recipe_is_done(tmp_path, monkeypatch):
    """The program finds a recipe by its name, from any folder."""
    from configs.quickstart import two_stream

    monkeypatch.chdir(tmp_path)
    folder = write(tmp_path / "run", {})
    config = two_stream.get_config("baseline")
    config.seed = 1
    checkpoint = folder / "two_stream" / "checkpoints" / str(config.two_stream.steps)
    checkpoint.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    later = checkpoint.stat().st_mtime + 10
    os.utime(folder / "scores.json", (later, later))
    assert seeds.is_done(folder, "quickstart/two_stream:baseline", ["--config.seed=1"])
    assert not seeds.is_done(folder, "quickstart/two_stream", ["--config.seed=1"])
    assert not seeds.is_done(folder, "quickstart/two_stream:baseline", ["--config.seed=2"])
    assert not seeds.is_done(folder, "quickstart/two_stream:absent", ["--config.seed=1"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["configs/absent.py:paper"], "there is no config file configs/absent.py; the shipped recipes are "),
        (["quickstarts"], '--config "quickstarts" is unknown; choose '),
        (["{config}", "--seeds=1"], "--seeds=1 gives no spread; choose 2 or more."),
        (["{config}", "--", "--config.seed=3"], "--config.seed=3 cannot follow --"),
        (["{config}", "--", "--workdir", "x"], "--workdir cannot follow --"),
    ],
)
def test_wrong_arguments(config, capsys, arguments, sentence):
    with pytest.raises(SystemExit) as stopped:
        seeds.main([argument.format(config=config) for argument in arguments])
    assert stopped.value.code
    assert sentence in capsys.readouterr().err


def test_a_program_that_fails_ends_the_seeds(tmp_path, monkeypatch):
    """The real train.py fails if the folder belongs to another config."""
    (tmp_path / "train.py").write_text("import sys; sys.exit('refused')")
    monkeypatch.setattr(seeds, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    with pytest.raises(SystemExit, match=r"train.py --workdir=x ended with exit code 1; its message is above\."):
        seeds.run("train.py", "--workdir=x")


def test_jax_stays_unloaded_so_that_training_has_the_device_for_itself(tmp_path):
    finish(write(tmp_path / "run", {}), 0)
    code = (
        "import sys; from pathlib import Path; from benchmarks import seeds;"
        "print(seeds.is_done(Path(sys.argv[1]), 'quickstart', []), 'jax' in sys.modules)"
    )
    command = [sys.executable, "-c", code, tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False False", done.stderr
