"""Images of one's own, as a user has them: files, folders, patterns, arrays and Pillow images."""

import glob
import io
import os
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Int32, UInt8
from PIL import Image

from rgbir_jax.data.decoding import decode, in_threads
from rgbir_jax.datasets.files import files_below, is_image, say_left_out
from rgbir_jax.datasets.records import IR, MODALITIES, RGB
from rgbir_jax.errors import UserError

Given = str | os.PathLike | Image.Image | np.ndarray | Iterable[Any]  # an iterable of any of these
GivenModality = str | int | np.integer | Iterable[Any] | np.ndarray | None


class GivenImage(NamedTuple):
    """An image that was not read yet.

    Attributes:
        name: its path as it was found; "image 3" for the third of several without one.
        content: its path, or a Pillow image.
    """

    name: str
    content: str | Image.Image


def given_images(given: Given) -> list[GivenImage]:
    """Lists images without reading them.

    Args:
        given: a file; a folder, whose images are taken with those of its subfolders, sorted by path; a pattern such as
            "people/*.png", where "**" is any number of folders; a Pillow image; an array uint8 [n, height, width, 3],
            [height, width, 3] or, in grey tones, [height, width], of NumPy or of a library whose arrays it can read,
            such as JAX; or several of these.

    Raises:
        UserError: for a path that is not there, a folder or a pattern without images, or an array of another kind.
    """
    contents = list(_contents(given))
    return [
        GivenImage(path if isinstance(content, str) else str(path or f"image {place}"), content)
        for place, (path, content) in enumerate(contents, 1)
    ]


def is_one(given: Given) -> bool:
    """Says whether something given to `given_images` is one image, and not a folder, a pattern or several."""
    if isinstance(given, str | os.PathLike):
        return os.path.isfile(os.path.expanduser(os.fspath(given)))
    return isinstance(given, Image.Image) or (hasattr(given, "__array__") and np.ndim(cast(Any, given)) < 4)


def _contents(given: Any) -> Iterator[tuple[str, str | Image.Image]]:
    """Lists (path, content) of each image; the path is empty if it has none."""
    if isinstance(given, str | os.PathLike):
        yield from ((path, path) for path in image_paths(given))
    elif isinstance(given, Image.Image):
        yield str(getattr(given, "filename", "")), given
    elif hasattr(given, "__array__"):
        yield from (("", Image.fromarray(image)) for image in _several(np.asarray(given)))
    elif isinstance(given, Iterable) and not isinstance(given, bytes | bytearray | io.IOBase):
        for one in given:
            yield from _contents(one)
    else:
        raise UserError(
            f"{reprlib.repr(given)} is no image; give paths, folders, patterns, uint8 arrays or Pillow images."
        )


def image_paths(given: str | os.PathLike) -> list[str]:
    """Lists the image files that a file, a folder or a pattern names; see `given_images`.

    What else lies in a folder is counted on stderr.

    Raises:
        UserError: if there is none, or if a folder cannot be read.
    """
    place = os.path.expanduser(os.fspath(given))
    if os.path.isdir(place):
        return _in_folder(place)
    if os.path.exists(place):
        return [place]
    if not glob.has_magic(place):
        raise UserError(f"there is no file or folder {place}; correct the path.")
    found = sorted(glob.glob(place, recursive=True))
    paths = [path for path in found if is_image(path) and os.path.isfile(path)]
    if not paths:
        raise UserError(f"{place} matches no image ({len(found)} other files and folders); correct the pattern.")
    return paths


def listed(folder: str) -> tuple[list[str], list[str]]:
    """Lists the files of a folder and its subfolders. The paths begin with the folder's.

    Returns:
        The images, sorted, and the other files.

    Raises:
        UserError: if a folder cannot be read.
    """
    try:
        paths = files_below(folder)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}); make it readable.") from error
    return sorted(filter(is_image, paths)), [path for path in paths if not is_image(path)]


def _in_folder(folder: str) -> list[str]:
    images, others = listed(folder)
    if not images:
        raise UserError(f"{folder} has no images, and its subfolders have none; name the folder that they are in.")
    say_left_out(Path(folder), others, "files that are no images")
    return images


def _several(array: np.ndarray) -> UInt8[np.ndarray, "n height width *channels"]:
    """Returns an array of images with an axis for their number.

    Raises:
        UserError: if it holds no images of 8 bits per channel.
    """
    shape = array.shape
    is_right = array.dtype == np.uint8 and (len(shape) == 2 or (len(shape) in (3, 4) and shape[-1] == 3))
    if is_right and 0 not in shape[-3:]:
        return array if len(shape) == 4 else array[None]
    sizes = "x".join(map(str, shape)) or "one number"
    raise UserError(f"the images are {array.dtype} {sizes}; give uint8 [n, height, width, 3], RGB in 0..255.")


def decoded(
    images: Sequence[GivenImage], image_size: tuple[int, int]
) -> Iterator[UInt8[np.ndarray, "height width 3"] | UserError]:
    """Reads images in order, in threads. What cannot be read gives the error instead of the image."""

    def read(image: GivenImage) -> UInt8[np.ndarray, "height width 3"] | UserError:
        try:
            return decode(image.content, image_size, image.name)
        except UserError as error:
            return error

    return in_threads(read, images)


def modality_numbers(modality: GivenModality, count: int) -> Int32[np.ndarray, "n"] | None:
    """Returns the modality of each image, 0 RGB and 1 IR; None if it has to be guessed.

    Args:
        modality: "rgb" or 0, "ir" or 1; one for all images or one per image; None if it is not known.
        count: the number of images.

    Raises:
        UserError: for another value or another number of them.
    """
    if modality is None:
        return None
    words = np.array([modality] * count if isinstance(modality, str | int | np.integer) else list(modality), object)
    if words.shape != (count,):
        shape = "x".join(map(str, words.shape))
        raise UserError(f"there are {count} images and the modalities are {shape}; give [n], one per image.")
    known = dict(zip((RGB, IR, *MODALITIES), (RGB, IR, RGB, IR), strict=True))
    for word in words.tolist():
        if word not in known:
            raise UserError(f'a modality is {word}; it must be 0 (RGB) or 1 (IR), or "rgb" or "ir".')
    return np.array([known[word] for word in words.tolist()], np.int32)


def has_equal_channels(images: UInt8[np.ndarray, "n height width 3"]) -> Bool[np.ndarray, "n"]:
    """Says which images have three equal channels, as infrared ones do."""
    return (images == images[..., :1]).all(axis=(1, 2, 3))
