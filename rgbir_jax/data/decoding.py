"""The only place where image files are decoded, so that every source yields the same pixels."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from os import PathLike, cpu_count

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from rgbir_jax.datasets.files import image_formats
from rgbir_jax.errors import UserError

LARGEST = 50_000_000  # pixels; a file of some kilobytes can have any number of them


def decode(path: str | PathLike | BytesIO, image_size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Reads an image file, or an open one, as RGB and resizes it (bicubic) to `image_size`, (height, width) in pixels.

    An image that the camera marked as turned (EXIF) is turned back. White is 255, also in an image of 16 bits.

    Raises:
        UserError: if the file is truncated, not an image or too large, or does not say which of its numbers is white.
    """
    height, width = image_size
    try:
        with Image.open(path, formats=image_formats()) as image:
            if image.width * image.height > LARGEST:
                raise UserError(
                    f"{path} has {image.width} x {image.height} pixels, which take gigabytes of memory to read; crop "
                    f"it to the person, or save it smaller."
                )
            if image.mode in ("I", "F"):
                raise UserError(
                    f"{path} has numbers of 32 bits, and nothing says which of them is white; "
                    f"save it with 8 or 16 bits per channel, from black to white."
                )
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):
                upright = Image.fromarray(np.round(np.asarray(upright) / 257).astype(np.uint8))
            return np.asarray(upright.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise UserError(f"{path} cannot be decoded ({error}); replace it with a whole copy of the image.") from error


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
