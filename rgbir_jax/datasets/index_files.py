"""Index files: text files that come with a dataset and list the images of a split, one per line."""

import os
from collections.abc import Iterable
from pathlib import Path

from rgbir_jax.datasets.files import files_below, is_image, read_text, say_left_out, shortened
from rgbir_jax.errors import UserError


def listed(root: Path, name: str, title: str, folder: str = "") -> list[str]:
    """Reads an index file, of lines "path label".

    The labels are not used: they number the people of one split from 0, so two splits share them.

    Args:
        root: the dataset's folder.
        name: the file's path, relative to `root`.
        title: the dataset's name in messages.
        folder: the folder in `root` that the file's paths are relative to; empty: `root` itself.

    Returns:
        The paths, relative to `root`, in the file's order.

    Raises:
        UserError: for a file that is missing or lists nothing, a line of another form, or an image that is listed twice
            or is not there.
    """
    if not (root / name).is_file():
        raise UserError(f"{root} has no {name}, which lists images of {title}; complete the copy.")
    prefix = f"{folder}/" if folder else ""
    paths: dict[str, None] = {}
    for number, line in enumerate(read_text(root / name).splitlines(), start=1):
        if not (words := line.split()):
            continue
        if len(words) != 2 or not words[1].isdecimal():
            raise UserError(f'{root}/{name}, line {number}: "{shortened(line)}" is not a path and a label; correct it.')
        path = prefix + words[0]
        if path in paths:
            raise UserError(f"{root}/{name}, line {number}, lists {shortened(path)} again; take the line out.")
        if not os.path.isfile(root / path):  # which says so of an impossible name, too
            raise UserError(
                f"{root}/{name}, line {number}, lists {shortened(path)}, which is not there; complete the copy of "
                f"{title}."
            )
        paths[path] = None
    if not paths:
        raise UserError(f"{root}/{name} lists no image; copy it from {title}.")
    return list(paths)


def say_unlisted(root: Path, folders: Iterable[str], listed: Iterable[str]) -> None:
    """Prints a line on stderr that counts the images which no index file lists, and names some.

    Args:
        root: the dataset's folder.
        folders: the folders in it that have its images.
        listed: the listed paths, relative to `root`.
    """
    paths = [path for folder in folders for path in files_below(root / folder) if is_image(path)]
    known = {f"{root}/{path}" for path in listed}
    say_left_out(root, [path for path in paths if path not in known], "images that no list names")


def badly_named(root: Path, name: str, path: str, title: str, example: str) -> UserError:
    """Makes the error for a listed image whose path does not tell what it shows."""
    return UserError(
        f"{root}/{name} lists {path}, which is not named as {title} names its images ({example}); correct that line."
    )
