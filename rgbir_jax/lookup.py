"""Values that a config names: those of the package by a short name, a user's own by its import path."""

import dataclasses
import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from ml_collections import ConfigDict

from rgbir_jax.errors import MissingKeyError, UserError

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


def find(name: str, known: Mapping[str, T], kind: type, key: str) -> T:
    """Finds the value that a config key names.

    Args:
        name: a key of `known`, or the import path of a user's own value, such as "package.module:Name".
        known: the package's own values by name.
        kind: what the value must be: an instance, or a subclass if the known values are classes.
        key: the name of the config key, for the message.

    Raises:
        UserError: if the name is unknown, if the import path leads nowhere, or if the value is of another kind.
    """
    if ":" not in name:
        if name not in known:
            raise UserError(
                f"{key} {quoted(name)} is unknown; choose {either(known)}, or the import path of your own, "
                f'"package.module:Name".'
            )
        return known[name]
    value = _imported(name, key)
    if not (issubclass(value, kind) if isinstance(value, type) else isinstance(value, kind)):
        raise UserError(f"{key} {quoted(name)} is no {kind.__name__} of rgbir_jax; see examples/ for one.")
    return cast(T, value)


def _imported(name: str, key: str) -> Any:
    module_name, _, attribute = name.partition(":")
    before = set(sys.modules)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.split(".")[0] != error.name.split(".")[0]:
            raise  # the module is there, and something that it imports is not
        raise UserError(
            f"{key} {quoted(name)} cannot be imported: there is no module {error.name}. Install it, or put it into "
            f"the folder of the config file, {os.environ.get(CONFIG_FOLDER) or 'which is not known'}."
        ) from error
    except ValueError as error:
        raise UserError(f'{key} {quoted(name)} is no import path; write "package.module:Name".') from error
    _users_modules.update(set(sys.modules) - before)
    if not hasattr(module, attribute):
        raise UserError(f"{key} {quoted(name)} is not there: {module.__file__} defines no {attribute}.")
    return getattr(module, attribute)


_users_modules: set[str] = set()  # names of the modules that were imported because a config names them


def construct(kind: type[T], section: object, key: str, **others: Any) -> T:
    """Makes a dataclass, such as a network's module, from a section of a config.

    Args:
        kind: the class.
        section: fields by name, a mapping.
        key: the section's own key, for the message.
        others: the fields that are not the config's.

    Raises:
        UserError: for a name in the section that is no field, or a value in the place of the section.
    """
    values = section_of(section, key)
    known = [field.name for field in dataclasses.fields(cast(Any, kind)) if field.init]
    known = [name for name in known if name not in ("parent", "name", *others)]
    for name in values:
        if name not in known:
            raise UserError(f"{key}.{name} is unknown to {kind.__name__}; choose {either(known)}.")
    return kind(**values, **others)


def section_of(value: object, key: str) -> Any:
    """Returns a section of a config.

    Args:
        value: what the config has.
        key: its full name, for the message.

    Raises:
        UserError: if it is a value.
    """
    if not isinstance(value, Mapping | ConfigDict):
        raise UserError(f"{key} is {quoted(value)}; it must be a section of the config.")
    return value


@contextmanager
def named_keys(config: ConfigDict) -> Iterator[None]:
    """Names the key if the config is asked for one that it does not have.

    Raises:
        MissingKeyError: for such a key.
    """
    try:
        yield
    except (AttributeError, KeyError) as error:
        if not (key := _missing_key(error, config)):
            raise
        raise MissingKeyError(key) from error


def _missing_key(error: Exception, config: ConfigDict) -> str:
    """Returns the full name of the value that a config was asked for in vain; empty if the error is another one."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if frame.f_code not in (ConfigDict.__getattr__.__code__, ConfigDict.__getitem__.__code__):
        return ""
    name = frame.f_locals.get("attribute") or frame.f_locals["key"]
    return f"{_path_of(frame.f_locals['self'], config)}{name}"


def _path_of(section: ConfigDict, config: ConfigDict, path: str = "config.") -> str:
    """Returns the full name of a section of a config, with a dot at its end; empty if it is another object."""
    if section is config:
        return path
    inner = ((name, value) for name, value in config.items() if isinstance(value, ConfigDict))
    return next(filter(None, (_path_of(section, value, f"{path}{name}.") for name, value in inner)), "")


def use_config_folder(folder: str) -> None:
    """Lets a config name values in the modules of its own folder, and of no other config's.

    Two runs may have modules of the same name: those that came from the folder used before are forgotten.
    """
    previous = os.environ.get(CONFIG_FOLDER)
    if previous and previous != folder:
        sys.path[:] = [entry for entry in sys.path if entry != previous]
        for name in _users_modules & sys.modules.keys():
            if str(getattr(sys.modules[name], "__file__", "")).startswith(previous + os.sep):
                del sys.modules[name]
    os.environ[CONFIG_FOLDER] = folder
    make_importable(folder)


def make_importable(folder: str) -> None:
    """Lets modules in a folder be imported, after everything else that is installed."""
    if folder and folder not in sys.path:
        sys.path.append(folder)


def expanded(path: str | os.PathLike) -> Path:
    """Replaces a "~" at the beginning of a path by the user's home; without a home it stays."""
    return Path(os.path.expanduser(path))


def expand_home(config: ConfigDict) -> None:
    """Replaces a "~" at the beginning of any text of a config, nested ones included, by the user's home."""
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            expand_home(value)
        elif isinstance(value, str) and value.startswith("~"):
            config[key] = os.path.expanduser(value)


def either(values: Iterable) -> str:
    """Lists values in a sentence: "a", "b" or "c"."""
    *others, last = map(quoted, values)
    return f"{', '.join(others)} or {last}" if others else last


def quoted(value: object) -> str:
    """Writes a value as a config file does."""
    return f'"{value}"' if isinstance(value, str) else repr(value)
