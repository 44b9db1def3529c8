"""Table 1 of the paper, what the two spaces are meant to hold, answered by probes."""

from collections.abc import Mapping
from typing import NamedTuple


class Line(NamedTuple):
    """One property of Table 1.

    Attributes:
        space: the space that the paper assigns it to, "structure" or "appearance".
        text: the property in the paper's words.
        factors: the factors of drawn people that stand for it.
    """

    space: str
    text: str
    factors: tuple[str, ...]


# Drawn people have no face; their skin stands for it. The bag is on both lists: its shape is structure, and its colour
# appearance.
TABLE_1 = (
    Line("structure", "silhouette", ("height", "build", "scale")),
    Line("structure", "pose", ("view", "phase", "swing", "x", "y")),
    Line("structure", "background", ("place",)),
    Line("structure", "hair", ("hair",)),
    Line("structure", "bag", ("bag",)),
    Line("appearance", "color of image", ("upper_colour", "lower_colour", "upper_infrared", "lower_infrared")),
    Line("appearance", "shoes", ("shoes_colour", "shoes_infrared")),
    Line("appearance", "bag", ("bag_colour", "bag_infrared")),
    Line("appearance", "type of clothes", ("sleeves", "lower", "upper_pattern", "lower_pattern")),
    Line("appearance", "face", ("skin_colour",)),
)


def table_1(probes: Mapping[str, Mapping[str, Mapping[str, float]]], a: str = "a", s: str = "s") -> list[dict]:
    """Answers Table 1 line by line.

    Args:
        probes: what `probes.probes` gives.
        a: the name of the appearance code in it.
        s: the name of the structure code in it.

    Returns:
        By line: `space`, `text`, `factors` by name with the linear score from `a` and `s` and `chance`; and `a` and
        `s`, the means over the factors of (score - chance) / (1 - chance), each at least 0: 1 if all can be read.
        Factors without a probe are left out, and so are lines without any.
    """
    lines = []
    for line in TABLE_1:
        names = [name for name in line.factors if name in probes[a] and name in probes[s]]
        if names:
            factors = {
                name: {
                    "a": probes[a][name]["score"],
                    "s": probes[s][name]["score"],
                    "chance": probes[a][name]["chance"],
                }
                for name in names
            }
            means = {space: sum(_above_chance(factors[name], space) for name in names) / len(names) for space in "as"}
            lines.append({"space": line.space, "text": line.text, "factors": factors} | means)
    return lines


def _above_chance(factor: Mapping[str, float], space: str) -> float:
    return max(0.0, (factor[space] - factor["chance"]) / (1 - factor["chance"]))
