"""The colours of the page can be read: WCAG 2's contrast of text is at least 4.5, that of outlines at least 3."""

import re

import pytest

from rgbir_jax.browse.app import STATIC

TEXT = {
    "text": ("page", "card", "field", "tint"),
    "muted": ("page", "card", "field", "tint"),
    "accent": ("tint",),
    "on-accent": ("accent",),
    "good": ("card", "tint"),
    "bad": ("bad-tint",),
}


def schemes():
    light, dark = re.findall(r":root \{(.*?)\}", (STATIC / "style.css").read_text(), re.DOTALL)
    colours = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in (light, dark)]
    return {"light": colours[0], "dark": colours[0] | colours[1]}


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme):
    colours = schemes()[scheme]
    low = {
        (text, ground): round(contrast(colours[text], colours[ground]), 2)
        for text, grounds in TEXT.items()
        for ground in grounds
        if contrast(colours[text], colours[ground]) < 4.5
    }
    assert not low
    for ground in ("page", "card"):
        assert contrast(colours["accent"], colours[ground]) >= 3  # the outline of the focus


def test_both_schemes_have_the_same_colours():
    light, dark = re.findall(r":root \{(.*?)\}", (STATIC / "style.css").read_text(), re.DOTALL)
    names = [set(re.findall(r"--([\w-]+): #", block)) for block in (light, dark)]
    assert names[0] == names[1]
    assert not re.search(r"color: (?!var|inherit|light)[#\w]", (STATIC / "style.css").read_text())
