"""Images that the page sends. They stay in memory, and only the latest ones do."""

import secrets
import threading
from collections import OrderedDict
from io import BytesIO
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from rgbir_jax.data.decoding import decode
from rgbir_jax.errors import UserError

LARGEST = 10_000_000  # bytes
KEPT = 32  # uploads
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # recognised by their content


class Upload(NamedTuple):
    """An image that was sent, at two sizes.

    Attributes:
        shown: as the page shows it.
        pixels: as the run sees it.
    """

    shown: UInt8[np.ndarray, "height width 3"]
    pixels: UInt8[np.ndarray, "h w 3"]


class Uploads:
    """The latest uploads, by a name that cannot be guessed."""

    def __init__(self):
        self._kept: OrderedDict[str, Upload] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, upload: Upload) -> str:
        """Keeps an upload and returns its name."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[name] = upload
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return name

    def __getitem__(self, name: object) -> Upload:
        with self._lock:
            if not isinstance(name, str) or name not in self._kept:
                raise UserError("this image is not known any more; choose its file again.")
            self._kept.move_to_end(name)
            return self._kept[name]


def read_upload(content: bytes, shown_size: tuple[int, int], image_size: tuple[int, int]) -> Upload:
    """Decodes an image that was sent; its format is recognised by its content.

    Args:
        content: the file.
        shown_size: (height, width) in pixels for the page.
        image_size: (height, width) in pixels for the run.

    Raises:
        UserError: if it is no image of `FORMATS`, damaged, or too large.
    """
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as opened:
            return Upload(*(np.asarray(decode(opened, size, "this image")) for size in (shown_size, image_size)))
    except UnidentifiedImageError as error:
        raise UserError("this file is no image that can be read; choose a JPEG, PNG, WebP, TIFF or BMP.") from error
    except Image.DecompressionBombError as error:
        raise UserError("this image has too many pixels to read; crop it to the person.") from error
