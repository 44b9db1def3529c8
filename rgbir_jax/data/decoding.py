"""The only place where image files are decoded, so that every source yields the same pixels."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from io import BytesIO
from itertools import islice
from os import PathLike, cpu_count, fsdecode
from os.path import exists, isfile

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from rgbir_jax.datasets.files import image_formats
from rgbir_jax.errors import UserError

LARGEST = 50_000_000  # pixels; a file of some kilobytes can have any number of them


def decode(
    image: str | PathLike | BytesIO | Image.Image, image_size: tuple[int, int], name: str = ""
) -> UInt8[np.ndarray, "height width 3"]:
    """Converts an image to RGB and resizes it (bicubic) to `image_size`, (height, width) in pixels.

    An image that the camera marked as turned (EXIF) is turned back. White is 255, also in an image of 16 bits.

    Args:
        image: a file's path, an open file, or a Pillow image.
        image_size: the height and width.
        name: the image's name in messages; a file's is its path.

    Raises:
        UserError: if it is truncated, not an image, empty or too large, no file, such as a pipe, or does not say which
            of its numbers is white.
    """
    height, width = image_size
    name = name or f"{image}"
    try:
        with nullcontext(image) if isinstance(image, Image.Image) else _open(image) as opened:
            if opened.width * opened.height > LARGEST:
                raise _too_large(name, f"{opened.width} x {opened.height}")
            if not opened.width * opened.height:
                raise UserError(f"{name} has no pixels; replace it with a whole copy of the image.")
            if opened.mode in ("I", "F"):
                raise UserError(
                    f"{name} has numbers of 32 bits, and nothing says which of them is white; "
                    f"save it with 8 or 16 bits per channel, from black to white."
                )
            upright = ImageOps.exif_transpose(opened)
            if upright.mode.startswith("I;16"):
                upright = Image.fromarray(np.round(np.asarray(upright) / 257).astype(np.uint8))
            return np.asarray(upright.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(name, f"more than {LARGEST:,}") from error
    except Exception as error:  # a damaged file can raise anything
        raise UserError(f"{name} cannot be decoded ({error}); replace it with a whole copy of the image.") from error


def _too_large(name: str, pixels: str) -> UserError:
    return UserError(
        f"{name} has {pixels} pixels, which take gigabytes of memory to read; "
        f"crop it to the person, or save it smaller."
    )


def _open(file: str | PathLike | BytesIO) -> Image.Image:
    if isinstance(file, str | PathLike) and exists(file) and not isfile(file):
        raise UserError(f"{fsdecode(file)} is no file; name one, or remove it.")  # opening a pipe waits for ever
    return Image.open(file, formats=image_formats())


def in_threads(function: Callable, items: Iterable, workers: int = 0) -> Iterator:
    """Maps in order with `workers` threads; 0 means one per core. Only a short queue of results waits to be fetched."""
    workers = workers or cpu_count() or 1
    items = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(function, item) for item in islice(items, 8 * workers))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(items, 1))
        finally:
            for future in waiting:
                future.cancel()
