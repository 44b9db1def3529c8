"""Comparison of the shapes that a file has with those that a network wants."""

from collections.abc import Mapping

Shape = tuple[int, ...]


def first_difference(saved: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> tuple[str, str] | None:
    """Describes the first array that differs, on both sides; None if all are equal.

    Args:
        saved: the shapes in the file, by name.
        wanted: the shapes that the network has, by name.
    """
    for name in sorted(saved.keys() | wanted.keys()):
        if saved.get(name) != wanted.get(name):
            return _describe(saved, name), _describe(wanted, name)
    return None


def _describe(shapes: Mapping[str, Shape], name: str) -> str:
    return f"{name} of shape {shapes[name]}" if name in shapes else f"no {name}"
