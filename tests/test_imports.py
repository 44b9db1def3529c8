"""The house has floors: a module imports only from lower ones, and no circle of modules is left."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import rgbir_jax

ROOT = Path(rgbir_jax.__file__).parent
FLOORS = (  # from the ground up; rooms on one floor do not know each other
    ("errors",),
    ("lookup",),
    ("losses", "models", "datasets"),
    ("synthetic", "data"),
    ("training",),
    ("stages",),
    ("inference",),
    ("evaluation",),
    ("visualize",),
    ("run",),
    ("commands",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def module_name(path: Path) -> str:
    return ".".join(("rgbir_jax", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_name(path): path for path in ROOT.rglob("*.py")}


def imported_by(path: Path) -> set[str]:
    """The package's modules that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return {name for name in names if name in MODULES and name != "rgbir_jax"}


IMPORTS = {name: imported_by(path) for name, path in MODULES.items()}


def room(name: str) -> str:
    return name.split(".")[1]


def test_every_room_has_a_floor():
    assert {room(name) for name in MODULES if name != "rgbir_jax"} == set(FLOOR)


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"rgbir_jax"}))
def test_imports_come_from_lower_floors(name):
    others = {other for other in IMPORTS[name] if room(other) != room(name)}
    higher = {other for other in others if FLOOR[room(other)] >= FLOOR[room(name)]}
    assert not higher, f"{name} imports {', '.join(sorted(higher))}"


def test_there_is_no_circle():
    # A package's __init__ imports its modules, which do not import it.
    graph = {name: others - {name.rpartition(".")[0]} for name, others in IMPORTS.items() if name != "rgbir_jax"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
