"""What disentanglement.json says, as tables and in words."""

from collections.abc import Mapping
from typing import NamedTuple

BLOCKS = {
    "rgb_rgb": "RGB structure, RGB appearance",
    "ir_ir": "IR structure, IR appearance",
    "rgb_ir": "RGB structure, IR appearance",
    "ir_rgb": "IR structure, RGB appearance",
}
COMPARED = {
    "swap": "swapped image G(a_j, s_i)",
    "image_i": "copy of image i",
    "image_j": "copy of image j",
    "mean": "mean image",
    "reconstruction": "reconstruction G(a_i, s_i) of i",
}
MEASURES = {"l1": "L1", "l1_person": "L1 at the persons", "ssim": "SSIM"}


class Table(NamedTuple):
    """Figures with names.

    Attributes:
        caption: what they are.
        head: the names of the columns; the first is that of the rows' names.
        rows: the name and the cells of each row.
    """

    caption: str
    head: list[str]
    rows: list[list[str]]

    def __str__(self) -> str:
        """Formats the table as plain text."""
        lines = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            [self.caption]
            + ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
        )


def tables(measured: Mapping) -> list[Table]:
    """Makes the tables of a run.

    Args:
        measured: the content of disentanglement.json.
    """
    blocks = {name: title for name, title in BLOCKS.items() if name in measured}
    if "dci" not in measured:
        return [_identities(measured, blocks), _probes(measured["probes"])]
    return [
        *(_errors(measured[name], title) for name, title in blocks.items()),
        _identities(measured, blocks),
        _table_1(measured["table_1"]),
        _dci(measured["dci"]),
        _probes(measured["probes"]),
    ]


def sentences(measured: Mapping) -> list[str]:
    """Says in words, from the figures, what swapped images are worth."""
    return [_verdict(measured[name], title) for name, title in BLOCKS.items() if name in measured]


def _verdict(block: Mapping, title: str) -> str:
    recognised = block["recogniser"]
    sentence = (
        f"{title}: the judge finds the person of the appearance first in {recognised['rank1_j']:.0%} of the swapped "
        f"images and the person of the structure in {recognised['rank1_i']:.0%} (chance {recognised['chance']:.0%})."
    )
    if "margin" in block:
        sentence += "".join(_nearer(block, *measure) for measure in MEASURES.items())
        sentence += " ± is one standard error."
    return sentence


def _nearer(block: Mapping, measure: str, title: str) -> str:
    """Says which images swaps are nearer to the truth than, and by how much, plus or minus one standard error."""
    margins = block["margin"][measure]
    by = {
        name: f"the {COMPARED[name]} ({margin:+.3f} ± {block['standard_error']['margin'][measure][name]:.3f})"
        for name, margin in margins.items()
    }
    better = [text for name, text in by.items() if margins[name] > 0]
    worse = [text for name, text in by.items() if margins[name] <= 0]
    verdict = (
        f"nearer to the truth than {_listed(better)}" if better else f"not nearer to the truth than {_listed(worse)}"
    )
    rest = f", not than {_listed(worse)}" if better and worse else ""
    return f" By {title} ({block[measure]['swap']:.3f}) they are {verdict}{rest}."


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _errors(block: Mapping, title: str) -> Table:
    margins, error = block["margin"], block["standard_error"]["margin"]

    def margin(measure, name):
        values = margins[measure]
        return f"{values[name]:+.3f} ± {error[measure][name]:.3f}" if name in values else ""

    rows = [
        [shown]
        + [f"{block[measure][name]:.3f}" for measure in MEASURES]
        + [margin(measure, name) for measure in MEASURES]
        for name, shown in COMPARED.items()
    ]
    caption = (
        f"{title}: difference from the true drawing of person j in the pose of i ({block['pairs']} pairs), and how "
        "much nearer swapped images are, ± one standard error"
    )
    head = ["", "L1", "at the persons", "SSIM", "swap is nearer by L1", "at the persons", "by SSIM"]
    return Table(caption, head, rows)


def _identities(measured: Mapping, blocks: Mapping[str, str]) -> Table:
    rows = []
    for name, title in blocks.items():
        recognised = measured[name]["recogniser"]
        rows.append([title, *(f"{100 * recognised[key]:.1f}" for key in ("rank1_j", "rank1_i", "chance"))])
    caption = (
        f"Whom the judge ({measured['judge']}) finds first: the person of the appearance (j) or the structure (i), in %"
    )
    return Table(caption, ["", "j", "i", "chance"], rows)


def _table_1(lines: list[Mapping]) -> Table:
    rows = [[f"{line['text']} ({line['space']})", f"{line['a']:.2f}", f"{line['s']:.2f}"] for line in lines]
    caption = "Table 1 of the paper: what can be read from each code (0 chance, 1 all), and in which it should be"
    return Table(caption, ["", "from a", "from s"], rows)


def _dci(dci: Mapping) -> Table:
    rows = [
        ["dimensions", f"{dci['disentanglement']:.2f}", f"{dci['completeness']:.2f}"],
        ["whole codes", *(f"{dci['codes'][name]:.2f}" for name in ("disentanglement", "completeness"))],
    ]
    caption = f"DCI: informativeness {dci['informativeness']:.2f}"
    return Table(caption, ["", "disentanglement", "completeness"], rows)


def _probes(probes: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    factors = list(next(iter(probes.values())))
    rows = [
        [factor, f"{next(iter(probes.values()))[factor]['chance']:.2f}"]
        + [f"{code[factor]['score']:.2f} / {code[factor]['mlp']:.2f}" for code in probes.values()]
        for factor in factors
    ]
    caption = (
        "Probes, linear / small MLP: balanced accuracy of kinds, R² of numbers, on persons that they never saw. A "
        "score below chance: what the probe has learnt does not hold for other persons"
    )
    return Table(caption, ["factor", "chance", *probes], rows)
