"""The package has layers: a module imports only from lower layers, and there are no import cycles."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import rgbir_jax

ROOT = Path(rgbir_jax.__file__).parent
LAYERS = (  # from the lowest up; parts in one layer do not import each other
    ("errors",),
    ("lookup", "files"),
    ("losses", "models", "datasets"),
    ("synthetic", "data"),
    ("training",),
    ("stages",),
    ("inference",),
    ("evaluation",),
    ("visualize",),
    ("origin",),
    ("run",),
    ("search",),
    ("browse",),
    ("commands",),
)
LAYER = {part: layer for layer, parts in enumerate(LAYERS) for part in parts}


def module_name(path: Path) -> str:
    return ".".join(("rgbir_jax", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_name(path): path for path in ROOT.rglob("*.py")}


def imported_by(path: Path) -> set[str]:
    """Returns the package's modules that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return {name for name in names if name in MODULES and name != "rgbir_jax"}


IMPORTS = {name: imported_by(path) for name, path in MODULES.items()}


def part(name: str) -> str:
    return name.split(".")[1]


def test_every_part_has_a_layer():
    assert {part(name) for name in MODULES if name != "rgbir_jax"} == set(LAYER)


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"rgbir_jax"}))
def test_imports_come_from_lower_layers(name):
    others = {other for other in IMPORTS[name] if part(other) != part(name)}
    higher = {other for other in others if LAYER[part(other)] >= LAYER[part(name)]}
    assert not higher, f"{name} imports {', '.join(sorted(higher))}"


def test_there_is_no_import_cycle():
    # A package's __init__ imports its modules, which do not import it.
    graph = {name: others - {name.rpartition(".")[0]} for name, others in IMPORTS.items() if name != "rgbir_jax"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
