"""Values that a config names: known, unknown and imported ones."""

import sys

import pytest
from ml_collections import ConfigDict

from rgbir_jax.errors import UserError
from rgbir_jax.lookup import CONFIG_FOLDER, choose, expand_home, find, make_importable, use_config_folder

KNOWN = {"one": 1, "two": 2, "three": 3}


def test_known_values_are_found():
    assert find("two", KNOWN, int, "config.number") == 2
    assert choose("two", KNOWN, "config.number") == "two"


def test_unknown_values_are_refused_with_the_known_ones():
    message = r'config.number "tow" is unknown; choose "one", "two" or "three"'
    with pytest.raises(UserError, match=message + r"\.$"):
        choose("tow", KNOWN, "config.number")
    with pytest.raises(UserError, match=message + r', or the import path of your own, "package.module:Name"'):
        find("tow", KNOWN, int, "config.number")


def test_a_user_s_own_value_is_imported(tmp_path):
    (tmp_path / "my_numbers.py").write_text("FOUR = 4\n")
    (tmp_path / "broken_numbers.py").write_text("import not_installed_anywhere\n")
    make_importable(str(tmp_path))
    assert find("my_numbers:FOUR", KNOWN, int, "config.number") == 4
    with pytest.raises(UserError, match=r'"my_numbers:FIVE" is not there: .*my_numbers.py defines no FIVE'):
        find("my_numbers:FIVE", KNOWN, int, "config.number")
    with pytest.raises(UserError, match=r'"no_numbers:ONE" cannot be imported: there is no module no_numbers'):
        find("no_numbers:ONE", KNOWN, int, "config.number")
    with pytest.raises(
        ModuleNotFoundError, match="not_installed_anywhere"
    ):  # an error inside that module keeps its traceback
        find("broken_numbers:ONE", KNOWN, int, "config.number")


def test_a_value_of_another_kind_is_refused():
    with pytest.raises(UserError, match=r'config.number "json:loads" is no int of rgbir_jax; see examples'):
        find("json:loads", KNOWN, int, "config.number")
    with pytest.raises(UserError, match=r'":" is no import path; write "package.module:Name"'):
        find(":", KNOWN, int, "config.number")


def test_modules_of_one_name_in_two_folders(tmp_path, monkeypatch):
    """Each config gets the module in its own folder, in whichever order they are used."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(CONFIG_FOLDER, "")
    for folder, number in (("a", 5), ("b", 6)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my_helper.py").write_text(f"NUMBER = {number}\n")
        (tmp_path / folder / "same_name.py").write_text("from my_helper import NUMBER\n")
    for folder, number in (("a", 5), ("b", 6), ("a", 5)):
        use_config_folder(str(tmp_path / folder))
        assert find("same_name:NUMBER", KNOWN, int, "config.number") == number
    with pytest.raises(UserError, match=rf"put it into the folder of the config file, {tmp_path}/a"):
        find("elsewhere:NUMBER", KNOWN, int, "config.number")


def test_the_home_folder_is_expanded_in_a_config(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = ConfigDict(
        {"data_dir": "~/data", "image": {"from_run": "~/runs/a", "steps": 3}, "name": "a~b", "none": ""}
    )
    expand_home(config)
    assert config.to_dict() == {
        "data_dir": "/home/me/data", "image": {"from_run": "/home/me/runs/a", "steps": 3}, "name": "a~b", "none": ""
    }  # fmt: skip
