"""Every command, Python block, link, recipe and config key of the pages exists and is run by something."""

import importlib.metadata
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from ml_collections import ConfigDict
from PIL import Image

from rgbir_jax.commands import flags
from rgbir_jax.evaluation import thresholds
from rgbir_jax.files import write_json
from rgbir_jax.lookup import CONFIG_FOLDER
from rgbir_jax.origin import INCLUDED
from tests.docs import pages, programs
from tests.docs.pages import PAGES, ROOT, Command
from tests.own_people import NIGHT, OTHER_DAY, person, write_people

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
COMMANDS = [command for page in PAGES for command in pages.commands(page)] + pages.notebook_commands()
WITH_PYTHON = [page for page in PAGES if pages.blocks(page, {"python"})]


# What the scoring of a run finds.
THRESHOLDS = {"stage": "image", "steps": 1, "dataset": "people", "search": "all", "probe": ["ir"], "gallery": ["rgb"]}
THRESHOLDS |= {"people": 4, "same_pairs": 9, "different_pairs": 99_999}
THRESHOLDS |= {"rates": {"0.001": {"tpr": 0.5, "threshold": 0.7, "false_matches": 99}}}


def of_programs(*names: str) -> list[Command]:
    return [command for command in COMMANDS if programs.program_and_arguments(command)[0] in names]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_pages_have_commands_of_all_kinds():
    """Otherwise nothing is found, and every test below passes."""
    assert len(of_programs("train.py")) > 10
    assert len(of_programs("eval.py")) > 10
    assert len(of_programs("make")) > 10
    assert {command.is_whole for command in COMMANDS} == {True, False}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_are_of_known_languages(page):
    languages = {pages.language(token) for token in pages.tokens(page) if token.type == "fence"}
    unknown = {language for language in languages if not language.startswith("{")}
    assert unknown <= pages.SHELL | pages.NO_CODE | {"python"}


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS), ids=str)
def test_a_command_is_run_by_a_test_or_a_make_target(command):
    program, arguments = programs.program_and_arguments(command)
    if program == "make":
        assert programs.recipe_of(arguments[0]), f"the Makefile has no target {arguments[0]}"
    elif program == "pip":
        extras = {extra for word in arguments for extra in re.findall(r"[\w-]+", "".join(re.findall(r"\[.*\]", word)))}
        assert arguments[0] == "install"
        assert extras <= set(EXTRAS)
    elif program in programs.SCRIPTS and not arguments:
        pass  # its name
    else:
        assert programs.run_by(command), f"nothing runs {command}; see RUN_BY in tests/docs/programs.py"


@pytest.mark.parametrize("key", programs.RUN_BY)
def test_what_runs_a_command_is_there(key):
    lacks = programs.lacks(key, programs.RUN_BY[key])
    assert not lacks, f"{programs.RUN_BY[key]} has no {lacks}"


@pytest.mark.parametrize("program", programs.ALIASES.values())
def test_the_programs_take_the_commands(program):
    commands = of_programs(program)
    assert commands
    assert not programs.refused_by_absl(program, commands)


@pytest.mark.parametrize("command", dict.fromkeys(of_programs(*programs.SCRIPTS)), ids=str)
def test_the_console_scripts_take_the_commands(command):
    if programs.program_and_arguments(command)[1]:
        assert not programs.refused_by_argparse(programs.program_and_arguments(command)[0], command)


def test_modules_know_the_flags():
    for command in COMMANDS:
        program, arguments = programs.program_and_arguments(command)
        if program.startswith(("benchmarks.", "tests.")):
            assert not programs.unknown_to_module(program, arguments), command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Goes to a folder with what the pages name: people, two queries and a run."""
    write_people(tmp_path / "people", range(4))
    for query, camera in (("query", NIGHT), ("other", OTHER_DAY)):
        Image.fromarray(person(2, camera)).save(tmp_path / f"{query}.png")
    shutil.copytree(INCLUDED / "drawn", tmp_path / "runs" / "own")
    write_json(tmp_path / "runs" / "own" / thresholds.FILE, THRESHOLDS)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
@pytest.mark.usefixtures("folder")
def test_python_blocks_run(page):
    """The blocks of a page share their names. Those that define a recipe make it."""
    namespace: dict = {"__name__": "page"}
    for number, block in enumerate(pages.blocks(page, {"python"}), 1):
        exec(compile(block, f"{name(page)}, block {number}", "exec"), namespace)
    if "get_config" in namespace:
        assert namespace["get_config"]().recipe


def test_every_page_is_in_the_menu():
    menus = re.findall(r"```{toctree}\n(.*?)```", (ROOT / "docs" / "index.md").read_text(), re.DOTALL)
    entries = {line for menu in menus for line in menu.split() if not line.startswith(":")}
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} <= entries | {"index"}
    assert pages.NOTEBOOK.stem in entries


def test_no_page_has_a_name_that_the_site_uses():
    assert not {page.stem for page in PAGES} & {"search", "genindex"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for link in pages.links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in pages.anchors(target), link


def test_the_recipes_of_the_readme_exist(monkeypatch):
    monkeypatch.setenv(CONFIG_FOLDER, "")
    table = re.search(r"\| recipe \|.*?\n\n", (ROOT / "README.md").read_text(), re.DOTALL)
    assert table
    for row in table[0].strip().splitlines()[2:]:
        recipe = ""
        for written in re.findall(r"`([^`]+)`", row.split("|")[1]):
            preset = written.partition(":")[2]
            recipe = written.partition(":")[0] or recipe
            flags._load(flags.config_file(recipe), "" if preset.isupper() else preset)


def test_config_keys_of_the_pages_exist():
    """Names in capitals, such as config.STAGE.optimizers, stand for any."""
    recipes = [flags._load(flags.config_file(recipe), "") for recipe in ("quickstart", "regdb_image", "own_folders")]
    for page in PAGES:
        written = [token.content for token in pages.tokens(page) if token.type == "code_inline"]
        for key in {key for text in written for key in re.findall(r"^(?:--)?config\.(?!json)([\w.]+)", text)}:
            assert any(has(recipe, key.split(".")) for recipe in recipes), f"{name(page)}: config.{key}"


def has(config, keys: list[str]) -> bool:
    if not keys or not isinstance(config, ConfigDict):
        return not keys
    first, *rest = keys
    return any(has(config[key], rest) for key in config if key == first or first.isupper())


def test_extras_name_what_exists():
    """`dev` has all that the tests and the site need, with today's Orbax, and jax calls its own extras so."""
    assert "rgbir-jax[" in EXTRAS["dev"][0]
    named = set(re.findall(r"[\w]+", EXTRAS["dev"][0].partition("[")[2]))
    assert named == set(EXTRAS) - {"dev", "onnx", "cuda", "tpu"}
    of_jax = importlib.metadata.metadata("jax").get_all("Provides-Extra") or []
    for extra in ("cuda", "tpu"):
        (requirement,) = EXTRAS[extra]
        assert re.findall(r"\[(\w+)\]", requirement)[0] in of_jax
