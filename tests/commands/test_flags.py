"""Values of --config."""

import os
import sys
from pathlib import Path

import pytest

from rgbir_jax.commands import flags
from rgbir_jax.errors import UserError
from rgbir_jax.lookup import CONFIG_FOLDER

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("quickstart", "quickstart/__init__.py"),
        ("quickstart/two_stream", "quickstart/two_stream.py"),
        ("sysu_image", "sysu_image.py"),
    ],
)
def test_shipped_recipes_have_names(name, file):
    assert flags.config_file(name) == CONFIGS / file


def test_the_path_of_a_file_is_kept(tmp_path):
    (tmp_path / "own.py").touch()
    assert flags.config_file(str(tmp_path / "own.py")) == tmp_path / "own.py"


@pytest.mark.parametrize("name", ["quickstrat", "configs/quickstrat.py", "common"])
def test_an_unknown_name_is_refused_with_the_recipes(name):
    with pytest.raises(UserError, match=r"market_image.*quickstart.*sysu_image"):
        flags.config_file(name)


@pytest.mark.parametrize("arguments", [["--config=sysu_image:dgnet"], ["--config", "sysu_image:dgnet"]])
def test_the_name_becomes_a_file_and_its_folder_importable(arguments, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(os.environ, CONFIG_FOLDER, "")
    argv = flags._with_config_file(["train.py", *arguments, "--config.seed=1"])
    assert "=".join(argv[1:-1]) == f"--config={CONFIGS / 'sysu_image.py'}:dgnet"
    assert argv[-1] == "--config.seed=1"
    assert {str(CONFIGS), str(CONFIGS.parent)} <= set(sys.path)
    assert os.environ[CONFIG_FOLDER] == str(CONFIGS)


def parsed(*argv):
    return flags._with_config_file(["train.py", *argv])


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes a config file of a user."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(os.environ, CONFIG_FOLDER, "")

    def write(text: str) -> str:
        (tmp_path / "mine.py").write_text("from ml_collections import ConfigDict\n" + text)
        return str(tmp_path / "mine.py")

    return write


def test_a_key_that_the_config_does_not_have_is_refused(mine):
    path = mine('def get_config():\n    return ConfigDict({"steps": 3, "rate": (1, 2), "own": {"width": 4}})\n')
    assert parsed(f"--config={path}", "--config.own.width=5", "--config.rate=(3,4)")[-1] == "--config.rate=(3,4)"
    for key, message in (
        ("step", r"config has no key step; did you mean steps\?"),
        ("own.widht", r"config.own has no key widht; did you mean width\?"),
        ("own.width.x", "config.own.width has no key x; --describe lists the keys"),
    ):
        with pytest.raises(UserError, match=message):
            parsed(f"--config={path}", f"--config.{key}=5")


def test_a_config_file_s_own_errors(mine):
    with pytest.raises(UserError, match="defines no get_config"):
        parsed(f"--config={mine('x = 1')}")
    with pytest.raises(UserError, match=r'has no presets; leave ":small" out'):
        parsed(f"--config={mine('def get_config(): return ConfigDict()')}:small")
    with pytest.raises(UserError, match="needs a preset; write --config"):
        parsed(f"--config={mine('def get_config(preset): return ConfigDict()')}")
    with pytest.raises(UserError, match=r"get_config returns no ml_collections.ConfigDict"):
        parsed(f"--config={mine('def get_config(): return {}')}")
    with pytest.raises(UserError, match=r"README.md is no config file: it is not Python"):
        parsed(f"--config={CONFIGS.parent / 'README.md'}")
    with pytest.raises(ZeroDivisionError):  # a bug keeps its traceback
        parsed(f"--config={mine('def get_config(): return 1 / 0')}")


def test_a_value_that_is_no_number_is_refused(mine):
    path = mine('def get_config():\n    return ConfigDict({"steps": 3, "rate": 0.1, "name": "x", "on": True})\n')
    parsed(f"--config={path}", "--config.rate=1", "--config.name=3", "--config.on=false")
    for change, message in (
        ("steps=abc", r"config.steps is a whole number, such as 3; abc is none"),
        ("steps=1.5", r"1.5 is none"),
        ("rate=high", r"config.rate is a number, such as 0.1; high is none"),
    ):
        with pytest.raises(UserError, match=message):
            parsed(f"--config={path}", f"--config.{change}")


def test_a_preset_can_be_empty():
    assert parsed("--config=sysu_image:")[1] == f"--config={CONFIGS / 'sysu_image.py'}"


def test_the_home_folder_is_expanded_in_every_flag(monkeypatch):
    """A shell expands "~" only where a word begins."""
    monkeypatch.setenv("HOME", "/home/me")
    arguments = ["--workdir=~/runs/x", "--config.data_dir=~/data", "--features", "~/f.npz", "--runs=a~b", "--json=/a/~"]
    expanded = ["--workdir=/home/me/runs/x", "--config.data_dir=/home/me/data", "--features", "/home/me/f.npz"]
    assert list(map(flags._with_home, arguments)) == [*expanded, "--runs=a~b", "--json=/a/~"]
