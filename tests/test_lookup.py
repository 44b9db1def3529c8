"""Values that a config names: known, unknown and imported ones."""

import pytest

from rgbir_jax.errors import UserError
from rgbir_jax.lookup import choose, find, make_importable

KNOWN = {"one": 1, "two": 2, "three": 3}


def test_known_values_are_found():
    assert find("two", KNOWN, "config.number") == 2
    assert choose("two", KNOWN, "config.number") == "two"


def test_unknown_values_are_refused_with_the_known_ones():
    message = r'config.number "tow" is unknown; choose "one", "two" or "three"'
    with pytest.raises(UserError, match=message + r"\.$"):
        choose("tow", KNOWN, "config.number")
    with pytest.raises(UserError, match=message + r', or the import path of your own, "package.module:Name"'):
        find("tow", KNOWN, "config.number")


def test_a_user_s_own_value_is_imported(tmp_path):
    (tmp_path / "my_numbers.py").write_text("FOUR = 4\n")
    (tmp_path / "broken_numbers.py").write_text("import not_installed_anywhere\n")
    make_importable(str(tmp_path))
    assert find("my_numbers:FOUR", KNOWN, "config.number") == 4
    with pytest.raises(UserError, match=r'"my_numbers:FIVE" is not there: .*my_numbers.py defines no FIVE'):
        find("my_numbers:FIVE", KNOWN, "config.number")
    with pytest.raises(UserError, match=r'"no_numbers:ONE" cannot be imported: there is no module no_numbers'):
        find("no_numbers:ONE", KNOWN, "config.number")
    with pytest.raises(
        ModuleNotFoundError, match="not_installed_anywhere"
    ):  # an error inside that module keeps its traceback
        find("broken_numbers:ONE", KNOWN, "config.number")
