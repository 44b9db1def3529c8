"""Ranked lists as a page and as a picture: colours that can be read, and names below the images."""

import re

import numpy as np
import pytest
from PIL import Image

from rgbir_jax.browse.app import STATIC
from rgbir_jax.search import pictures
from rgbir_jax.search.ranking import Images, Ranking
from tests.browse.test_style import contrast


def schemes(style: str) -> list[dict[str, str]]:
    """Returns the colours by name of the light and of the dark scheme."""
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in blocks]


def test_a_page_has_the_colours_of_rgbir_browse_in_both_schemes():
    light, dark = schemes(pictures._STYLE)
    assert "prefers-color-scheme: dark" in pictures._STYLE
    assert set(light) == set(dark) == {"page", "text", "muted"}
    for colours, known in zip((light, dark), schemes((STATIC / "style.css").read_text()), strict=True):
        assert colours.items() <= known.items()
        for name in ("text", "muted"):
            assert contrast(colours[name], colours["page"]) >= 4.5
    assert not re.search(r"(color|border[\w-]*): [^;]*#", pictures._STYLE)


@pytest.mark.parametrize(
    ("name", "width", "shown"),
    [
        ("ab.png", 6, "ab.png"),
        ("camera3_000123.png", 14, "camera3_000123"),
        ("camera3_000123.png", 10, "came…00123"),
        ("camera3_000123.png", 1, "…3"),
        (".hidden_and_long", 5, ".h…ng"),
        ("", 3, ""),
    ],
)
def test_long_names_are_shortened_in_their_middle(name, width, shown):
    assert pictures.shortened(name, width, len) == shown


def test_names_are_written_below_the_images_of_a_picture(tmp_path):
    names = ["a.png", "a_very_long_name_of_a_camera_and_a_frame_000123.png", "line\nbreak.png"]
    for name in names:
        Image.new("RGB", (32, 64), "red").save(tmp_path / name)
    paths = [str(tmp_path / name) for name in names]
    plain = Ranking(np.array([[0, 1, 2]]), np.zeros((1, 3)), Images(paths[:1], None), Images(paths, None))
    for ranking in (plain, plain._replace(same=np.array([[-1, 0, 1]], np.int8))):
        pictures.write_sheet(tmp_path / "f.png", ranking, (64, 32))
        text = np.asarray(Image.open(tmp_path / "f.png")).min(axis=2)[pictures.GAP + pictures.HEIGHT :]
        width = 64 + pictures.GAP
        last = text[-pictures.GAP - pictures.LINE :]
        inked = [(last[:, pictures.GAP + i * width :][:, :64] < 128).sum() for i in range(1, 4)]
        assert min(inked) > 0
        gaps = [text[:, (i + 1) * width :][:, : pictures.GAP] for i in range(4)]
        assert min(gap.min() for gap in gaps) == 255
