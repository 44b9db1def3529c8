"""Test files have names of their own: without packages, pytest imports two files of one name as one module."""

from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent


def of_one_name(root: Path) -> dict[str, list[str]]:
    """Returns the test files below a folder that share a name, by this name."""
    paths = defaultdict(list)
    for path in sorted(root.rglob("test_*.py")):
        paths[path.name].append(path.relative_to(root).as_posix())
    return {name: found for name, found in paths.items() if len(found) > 1}


def test_no_two_test_files_have_the_same_name():
    assert not list(ROOT.rglob("__init__.py"))
    assert not of_one_name(ROOT)


def test_files_of_one_name_are_found(tmp_path):
    for path in ("a/test_x.py", "b/c/test_x.py", "b/test_y.py", "a/x.py", "b/x.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert of_one_name(tmp_path) == {"test_x.py": ["a/test_x.py", "b/c/test_x.py"]}
