"""The only place where image files are decoded, so that every source yields the same pixels."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from os import PathLike, cpu_count

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rgbir_jax.errors import UserError


def decode(path: str | PathLike | BytesIO, image_size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Reads an image file, or an open one, as RGB and resizes it (bicubic) to `image_size`, (height, width) in pixels.

    Raises:
        UserError: if the file is truncated or not an image.
    """
    height, width = image_size
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be decoded ({error}); replace it with a whole copy of the image.") from error


def in_threads(function: Callable, items: Iterable) -> Iterator:
    """Maps in order with one thread per core. Only a short queue of results waits to be fetched."""
    workers = cpu_count() or 1
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
