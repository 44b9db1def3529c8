"""What an image file says is what is read."""

import os

import numpy as np
import pytest
from PIL import Image

from rgbir_jax.data.decoding import decode
from rgbir_jax.errors import UserError

SIZE = (8, 4)
RAMP = np.linspace(0, 255, 32).reshape(SIZE).astype(np.uint8)
GREY = np.repeat(RAMP[..., None], 3, axis=2)


def test_sixteen_bits_have_the_tones_of_eight(tmp_path):
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(RAMP.astype(">u2") * 257).save(tmp_path / "16.tiff")
    for name in ("16.png", "16.tiff"):
        np.testing.assert_array_equal(decode(tmp_path / name, SIZE), GREY)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_numbers_without_a_white_are_refused(tmp_path, kind):
    Image.fromarray(RAMP.astype(kind)).save(tmp_path / "a.tiff")
    with pytest.raises(UserError, match=r"a.tiff has numbers of 32 bits, .*; save it with 8 or 16 bits"):
        decode(tmp_path / "a.tiff", SIZE)


def test_a_turned_image_is_turned_back(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # Orientation: upside down
    Image.fromarray(GREY[::-1, ::-1]).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "a.png", SIZE), GREY)
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(np.rot90(GREY).copy()).save(tmp_path / "b.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "b.png", SIZE), GREY)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    name = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.fromarray(np.where(GREY > 100, 255, 0).astype(np.uint8)).convert(mode).save(name)
    np.testing.assert_allclose(decode(name, SIZE), np.where(GREY > 100, 255, 0), atol=1)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a.png is no file; name one, or remove it"):
        decode(tmp_path / "a.png", SIZE)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("size", "pixels"), [((10_000, 9_000), "10000 x 9000"), ((30_000, 20_000), "more than 50,000,000")]
)
def test_a_large_image_is_to_be_cropped(tmp_path, size, pixels):
    Image.new("1", size).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=rf"a.png has {pixels} pixels, which take gigabytes .*; crop it"):
        decode(tmp_path / "a.png", SIZE)
