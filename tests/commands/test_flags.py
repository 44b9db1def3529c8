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
