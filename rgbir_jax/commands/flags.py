"""What the command lines share: flags in, and one sentence out if something is wrong."""

import difflib
import importlib.util
import inspect
import io
import os
import re
import sys
from collections.abc import Callable
from logging import CRITICAL, getLogger
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict

from rgbir_jax.commands import stop
from rgbir_jax.errors import UserError, of_machine
from rgbir_jax.lookup import choose, make_importable, use_config_folder
from rgbir_jax.training.interrupt import Interrupted

_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where in the code an error arose, not only its sentence.")

# The shipped recipes: `configs/` of a checkout, which an installed package has inside.
SHIPPED = next(
    folder
    for folder in (Path(__file__).parents[1] / "recipes" / "configs", Path(__file__).parents[2] / "configs")
    if folder.is_dir()
)


def run(main: Callable[[], None]) -> None:
    """Parses the flags and calls `main`; a `UserError` becomes one sentence and a non-zero exit.

    --help prints the docstring of the module that defines `main`.
    """
    sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    app.run(lambda argv: _one_sentence(main), flags_parser=_parse)


def config_file(name: str) -> Path:
    """Finds the file of a config.

    Args:
        name: the value of --config without its preset: a file, or the name of a shipped recipe.

    Raises:
        UserError: if it is neither.
    """
    if Path(name).is_file():
        return Path(name)
    recipes = {_recipe_name(path): path for path in sorted(SHIPPED.rglob("*.py")) if _is_recipe(path)}
    if ("/" in name and name not in recipes) or name.endswith(".py"):
        raise UserError(f"there is no config file {name}; the shipped recipes are {', '.join(recipes)}.")
    return recipes[choose(name, recipes, "--config")]


def _recipe_name(path: Path) -> str:
    return path.relative_to(SHIPPED).with_suffix("").as_posix().removesuffix("/__init__")


def _is_recipe(path: Path) -> bool:
    return "def get_config" in path.read_text()


def _parse(argv: list[str]) -> list[str]:
    _show_in_help(argv[0])
    try:
        sys.argv = argv = _with_config_file(list(map(_with_home, _repeated(argv))))
    except UserError as error:
        sys.exit(f"{_program()}: {error}")
    try:
        rest = flags.FLAGS(argv)
    except (flags.Error, TypeError, ValueError) as error:  # a flag that does not exist, or a value of another type
        sys.exit(f"{_program()}: {str(error).strip()} --help lists the flags.")
    if len(rest) > 1:
        sys.exit(f"{_program()}: {rest[1]} is not understood; flags are written --name=value.")
    return rest


def _show_in_help(program: str) -> None:
    """Lets --help list the flags of this package: absl lists only those of the file that was started."""
    for module, members in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith("rgbir_jax."):
            for flag in members:
                flags.FLAGS.register_key_flag_for_module(program, flag)


def _repeated(argv: list[str]) -> list[str]:
    """Writes `--compare A B` as `--compare=A --compare=B`, for every flag that may be repeated."""
    repeated, name = [], ""
    for argument in argv:
        if argument.startswith("-"):
            name, equals, _ = argument.lstrip("-").partition("=")
            name = name if name in flags.FLAGS and isinstance(flags.FLAGS[name], flags.MultiFlag) else ""
            repeated += [argument] if equals or not name else []
        else:
            repeated.append(f"--{name}={argument}" if name else argument)
    return repeated


def _with_home(argument: str) -> str:
    """Replaces the "~" of a value: a shell does so only if the value stands by itself.

    Raises:
        UserError: for a value that is not in UTF-8, which no file that is written could have.
    """
    try:
        argument.encode()
    except UnicodeEncodeError as error:
        name = argument.encode(errors="backslashreplace").decode()
        raise UserError(f"{name} is not in UTF-8; rename that file or folder.") from error
    name, equals, value = argument.partition("=")
    return name + equals + os.path.expanduser(value) if equals else os.path.expanduser(argument)


def _with_config_file(argv: list[str]) -> list[str]:
    """Replaces the name of a shipped recipe by its file, and makes the config's folder importable."""
    argv = list(argv)
    for i, argument in enumerate(argv):
        match = re.fullmatch(r"--?config(?:=(.*))?", argument)
        if not match or (match[1] is None and i + 1 == len(argv)):
            continue
        name, _, preset = (argv[i + 1] if match[1] is None else match[1]).partition(":")
        path = config_file(name)
        make_importable(str(SHIPPED.parent))  # shipped recipes import each other as configs.NAME
        use_config_folder(str(path.parent.resolve()))
        _check_keys(_load(path, preset), argv)
        value = f"{path}:{preset}" if preset else str(path)
        argv[i : i + 1] = [argument, value] if match[1] is None else [f"--config={value}"]
        if match[1] is None:
            del argv[i + 2]
    return argv


def _load(path: Path, preset: str) -> ConfigDict:
    """Runs a config file. Its own UserErrors pass through, and a bug in it keeps its traceback."""
    if path.suffix != ".py":
        raise UserError(f"{path} is no config file: it is not Python; --config takes a .py file or a shipped recipe.")
    spec = importlib.util.spec_from_file_location("_config", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} is no config file: it defines no get_config.")
    parameters = inspect.signature(module.get_config).parameters.values()
    if preset and not parameters:
        raise UserError(f'{path} has no presets; leave ":{preset}" out.')
    if not preset and any(parameter.default is parameter.empty for parameter in parameters):
        raise UserError(f"{path} needs a preset; write --config {path}:PRESET.")
    config = module.get_config(*([preset] if preset else []))
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path} is no config file: its get_config returns no ml_collections.ConfigDict.")
    return config


def _check_keys(config: ConfigDict, argv: list[str]) -> None:
    """Refuses `--config.KEY=VALUE` for a key that the config does not have, and a word for a number."""
    for argument in argv:
        match = re.fullmatch(r"--?config\.([^=]+)(=.*)?", argument, re.DOTALL)
        section, path = config, "config"
        for key in match[1].split(".") if match else ():
            if not isinstance(section, ConfigDict) or key not in section:
                known = list(section) if isinstance(section, ConfigDict) else []
                close = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {close[0]}?" if close else "--describe lists the keys."
                raise UserError(f"{path} has no key {key}; {hint}")
            section, path = section[key], f"{path}.{key}"
        kind = {int: "a whole number", float: "a number"}.get(type(section))
        if match and match[2] and kind:
            try:
                float(match[2][1:]) if kind == "a number" else int(match[2][1:])
            except ValueError as error:
                raise UserError(f"{path} is {kind}, such as {section}; {match[2][1:]} is none.") from error


def _one_sentence(main: Callable[[], None]) -> None:
    logging.set_verbosity(logging.WARNING)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal has all letters
    if not _TRACEBACK.value:
        # Orbax reports every file, and the traceback of each that it cannot read or write; it also leaves tasks behind
        # that failed on the same file.
        logging.set_verbosity(logging.FATAL)
        getLogger("asyncio").setLevel(CRITICAL)
        sys.unraisablehook = lambda unraisable: None
    try:
        main()
    except Interrupted as error:
        stop(f"{_program()}: {error}")
    except KeyboardInterrupt:
        stop(f"{_program()}: stopped.")
    except UserError as error:
        if _TRACEBACK.value:
            raise
        sys.exit(f"{_program()}: {error}")
    except Exception as error:
        if _TRACEBACK.value or not (sentence := of_machine(error)):
            raise
        sys.exit(f"{_program()}: {sentence}")


def _program() -> str:
    return Path(sys.argv[0]).name
