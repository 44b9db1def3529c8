"""Features of images, a line each: python loader.py RGB_IMAGE... --ir INFRARED_IMAGE...

This file and features.jaxexport need only jax, flatbuffers, numpy and pillow.
"""

import sys
from pathlib import Path

import jax.export
import numpy as np
from PIL import Image, ImageOps

program = jax.export.deserialize(bytearray(Path(__file__).with_name("features.jaxexport").read_bytes()))
features = jax.jit(program.call)  # uint8 [n, height, width, 3], int32 [n] (0 RGB, 1 infrared) -> unit vectors [n, dim]


def read(path):
    """Reads an image of 8 or 16 bits per channel as RGB in the size that the model knows."""
    image = ImageOps.exif_transpose(Image.open(path))
    image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8)) if image.mode[:4] == "I;16" else image
    return np.asarray(image.convert("RGB").resize(program.in_avals[0].shape[2:0:-1], Image.Resampling.BICUBIC))


if __name__ == "__main__":
    paths = [path for path in sys.argv[1:] if path != "--ir"] or sys.exit("Name images: loader.py RGB... --ir IR...")
    infrared = np.arange(len(paths)) >= [*sys.argv[1:], "--ir"].index("--ir")
    np.savetxt(sys.stdout, features(np.stack([read(path) for path in paths]), infrared.astype(np.int32)), "%.9g")
