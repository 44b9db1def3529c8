"""Values that a config names: those of the package by a short name, a user's own by its import path."""

import importlib
import sys
from collections.abc import Iterable, Mapping
from typing import TypeVar

from rgbir_jax.errors import UserError

T = TypeVar("T")
CONFIG_FOLDER = "RGBIR_CONFIG_FOLDER"  # environment variable: the folder of the config file that is used


def choose(value: T, allowed: Iterable[T], key: str) -> T:
    """Returns `value` if it is allowed.

    Args:
        value: the value of a config key.
        allowed: the possible values.
        key: the name of the config key, for the message.

    Raises:
        UserError: if the value is not allowed.
    """
    if value not in (allowed := tuple(allowed)):
        raise UserError(f"{key} {quoted(value)} is unknown; choose {either(allowed)}.")
    return value


def find(name: str, known: Mapping[str, T], key: str) -> T:
    """Finds the value that a config key names.

    Args:
        name: a key of `known`, or the import path of a user's own value, such as "package.module:Name".
        known: the package's own values by name.
        key: the name of the config key, for the message.

    Raises:
        UserError: if the name is unknown, or if the import path leads nowhere.
    """
    if ":" not in name:
        if name not in known:
            raise UserError(
                f"{key} {quoted(name)} is unknown; choose {either(known)}, or the import path of your own, "
                f'"package.module:Name".'
            )
        return known[name]
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.split(".")[0] != error.name.split(".")[0]:
            raise  # the module is there, and something that it imports is not
        raise UserError(
            f"{key} {quoted(name)} cannot be imported: there is no module {error.name}. "
            f"Put it into the config file's folder or install it."
        ) from error
    if not hasattr(module, attribute):
        raise UserError(f"{key} {quoted(name)} is not there: {module.__file__} defines no {attribute}.")
    return getattr(module, attribute)


def make_importable(folder: str) -> None:
    """Lets a config name values in a folder, after everything else that is installed."""
    if folder and folder not in sys.path:
        sys.path.append(folder)


def either(values: Iterable) -> str:
    """Lists values in a sentence: "a", "b" or "c"."""
    *others, last = map(quoted, values)
    return f"{', '.join(others)} or {last}" if others else last


def quoted(value: object) -> str:
    """Writes a value as a config file does."""
    return f'"{value}"' if isinstance(value, str) else repr(value)
