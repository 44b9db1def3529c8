"""What readers share about files: the images of a folder, what is left out, and text that any editor saved."""

import codecs
import functools
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from rgbir_jax.errors import UserError, one_line

# Formats that Pillow recognises and cannot decode, and one whose files are programs, which it gives to Ghostscript.
NO_PICTURES = {"BUFR", "GRIB", "HDF5", "MPEG", "EPS"}
LONGEST_QUOTE = 100  # characters
NAMED = 3  # files that a line about many files names


@functools.cache
def image_formats() -> tuple[str, ...]:
    """Returns Pillow's names of the image formats that are read."""
    Image.init()
    return tuple(sorted(Image.OPEN.keys() - NO_PICTURES))


@functools.cache
def image_endings() -> frozenset[str]:
    """Returns the endings of the image formats that are read, in lower case with their dot."""
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in image_formats())


def is_image(name: str) -> bool:
    """Says whether a file's name ends as an image's, in upper or lower case."""
    return os.path.splitext(name)[1].lower() in image_endings()


def is_number(word: str) -> bool:
    """Says whether a word is a whole number from 0 that fits into 32 bits, as the numbers of persons and images do."""
    return word.isdecimal() and len(word) < 256 and int(word) < 2**31


def images_in(folder: str | os.PathLike) -> tuple[list[str], list[str]]:
    """Lists the files of a folder. Hidden ones, such as the `._*` of macOS, are skipped.

    Returns:
        The names of its images, sorted, and the paths of all other files, those in its subfolders included. The paths
        begin with the folder's.

    Raises:
        UserError: see `check_usable`.
    """
    images, others = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                others += files_below(entry.path)
            elif is_image(entry.name):
                check_usable(entry.path, entry.is_file())
                images.append(entry.name)
            else:
                others.append(entry.path)
    return sorted(images), others


def check_usable(path: str, is_file: bool) -> None:
    """Refuses an image that nothing can be done with.

    Args:
        path: the image.
        is_file: whether it is a file or a link to one.

    Raises:
        UserError: for a name that is not in UTF-8, a link to something that is not there, or a pipe, which would be
            waited for.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        name = path.encode(errors="backslashreplace").decode()
        raise UserError(f"{name} has a name that is not in UTF-8; rename it.") from error
    if not is_file and os.path.islink(path):
        raise UserError(f"{path} is a link to a file that is not there; put the file there, or remove the link.")
    if not is_file:
        raise UserError(f"{path} is no file; replace it with the image, or remove it.")


def files_below(folder: str | os.PathLike) -> list[str]:
    """Returns the paths of the files of a folder and its subfolders, without hidden ones. They begin with `folder`.

    A link to a folder that it lies in is not followed.

    Raises:
        OSError: if a folder cannot be read.
    """
    paths = []
    for place, folders, names in os.walk(folder, onerror=_stop, followlinks=True):
        here = os.path.realpath(place)
        inside = (name for name in sorted(folders) if not name.startswith("."))
        folders[:] = [name for name in inside if not _leads_back(os.path.join(place, name), here)]
        paths += [os.path.join(place, name) for name in sorted(names) if not name.startswith(".")]
    return paths


def _stop(error: OSError) -> None:
    raise error


def _leads_back(folder: str, here: str) -> bool:
    return os.path.islink(folder) and Path(here).is_relative_to(os.path.realpath(folder))


def say_left_out(root: Path, things: Sequence[str], what: str) -> None:
    """Prints a line on stderr that counts what a reader does not use and names some of it; nothing if there is none.

    Args:
        root: the dataset's folder.
        things: names, or paths that begin with `root`.
        what: what they are, in the plural.
    """
    say_some(root, things, f"{what}, left out")


def say_some(root: Path, things: Sequence[str], what: str, meaning: str = "") -> None:
    """Prints a line on stderr that counts things and names some; nothing if there is none.

    Args:
        root: the dataset's folder.
        things: names, or paths that begin with `root`.
        what: what they are, in the plural.
        meaning: a sentence about what follows from it.
    """
    if things:
        names = [thing.removeprefix(f"{root}/") for thing in sorted(things)]
        shown = ", ".join(names[:NAMED] + ["..."] * (len(names) > NAMED))
        print(one_line(f"{root}: {what}: {len(things):,} ({shown}). {meaning}".rstrip()), file=sys.stderr)


def read_text(path: str | os.PathLike) -> str:
    """Reads a text file in UTF-8, or in UTF-16 if it begins with its byte order mark.

    Raises:
        UserError: if it is neither.
    """
    content = Path(path).read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 or UTF-16; save it as UTF-8.") from error


def read_words(path: str | os.PathLike, separators: str) -> list[str]:
    """Reads a text file as a list.

    Args:
        path: the file.
        separators: the characters between two entries, as in a regular expression's set; line ends are always some.

    Returns:
        The entries, without white space around them.

    Raises:
        UserError: see `read_text`.
    """
    return [word for part in re.split(rf"[\r\n{separators}]", read_text(path)) if (word := part.strip())]


def shortened(text: str) -> str:
    """Returns the beginning of a text from a file, for a message: a file that is no list can have very long words."""
    return text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "..."


def nested(root: Path, names: Iterable[str]) -> Path | None:
    """Finds a folder in `root` that has all the named subfolders: the tree itself, one folder deeper."""
    names = tuple(names)
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir())
    return next((folder for folder in folders if all((folder / name).is_dir() for name in names)), None)
