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
    made = [_identities(measured, blocks)]
    if "dci" in measured:
        made = [_errors(measured[name], title) for name, title in blocks.items()] + made
        made += [_table_1(measured["table_1"]), _dci(measured["dci"])]
    return [*made, _probes(measured["probes"])]


def sentences(measured: Mapping) -> list[str]:
    """Says in words, from the figures, what swapped images are worth."""
    verdicts = []
    for name, title in BLOCKS.items():
        if name not in measured:
            continue
        found = measured[name]["recogniser"]
        sentence = (
            f"{title}: a swapped image shows the person of the appearance in {found['rank1_j']:.0%} of the cases and "
            f"the person of the structure in {found['rank1_i']:.0%}, by the judge (chance {found['chance']:.0%})."
        )
        if "l1" in measured[name]:
            l1 = measured[name]["l1"]
            others = ("image_i", "image_j", "mean")
            better = [COMPARED[other] for other in others if l1["swap"] < l1[other]]
            worse = [COMPARED[other] for other in others if l1["swap"] >= l1[other]]
            sentence += f" Its L1 error, {l1['swap']:.2f}, is below that of {_listed(better)}"
            sentence += f" and not below that of {_listed(worse)}." if worse else "."
        verdicts.append(sentence)
    return verdicts


def _listed(names: list[str]) -> str:
    return " and ".join(f"the {name}" for name in names) or "none of the copies"


def _errors(block: Mapping, title: str) -> Table:
    rows = [
        [shown, *(f"{block[measure][name]:.3f}" for measure in ("l1", "l1_person", "ssim"))]
        for name, shown in COMPARED.items()
    ]
    caption = f"{title}: difference from the true drawing of person j in the pose of i ({block['pairs']} pairs)"
    return Table(caption, ["", "L1", "at the persons", "SSIM"], rows)


def _identities(measured: Mapping, blocks: Mapping[str, str]) -> Table:
    rows = []
    for name, title in blocks.items():
        found = measured[name]["recogniser"]
        rows.append([title, *(f"{100 * found[key]:.1f}" for key in ("rank1_j", "rank1_i", "chance"))])
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
    caption = "Probes, linear / small MLP: balanced accuracy of kinds, R² of numbers, on persons that they never saw"
    return Table(caption, ["factor", "chance", *probes], rows)
