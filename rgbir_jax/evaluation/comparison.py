"""Runs compared probe by probe: `eval.py --compare`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.bootstrap import Interval
from rgbir_jax.evaluation.disentanglement import Table
from rgbir_jax.evaluation.per_probe import FILE, MEASURES, PerProbe
from rgbir_jax.files import read_json

SEEDS = (
    "The intervals say how much depends on who is tested. They do not say how much depends on the seed of training: "
    "for that, train with several (benchmarks/seeds.py)."
)


class _Scored(NamedTuple):
    """A scored run: its folder as given, the content of scores.json, and the figures of its probes."""

    name: str
    scores: dict
    probes: PerProbe


def compare(folders: Sequence[str]) -> tuple[str, dict]:
    """Compares the trained stages of runs with that of the first: a paired bootstrap over persons.

    Args:
        folders: two or more folders of runs that were scored on the same images.

    Returns:
        Tables to print, one per search that all runs have, and the same as fractions for a JSON file.

    Raises:
        UserError: for a run that is not scored, or scored on other images or by another protocol than the first, or
            one that is given twice.
    """
    places = [Path(folder).expanduser().resolve() for folder in folders]
    if twice := [folder for number, folder in enumerate(folders) if places[number] in places[:number]]:
        raise UserError(f"{twice[0]} is given twice; name different runs.")
    runs = [_read(folder) for folder in folders]
    searches = _common(runs)
    content = {search: _rows(search, runs) for search in searches}
    first = runs[0]
    tables = [_table(first, first.scores["settings"][search], rows) for search, rows in content.items()]
    return "\n\n".join([*map(str, tables), SEEDS]), content


def verdict(ahead: Interval) -> str:
    """Says in words what an interval of differences shows."""
    return "ahead" if ahead.low > 0 else "behind" if ahead.high < 0 else "undecided"


def sentence(ahead: Interval, other: str) -> str:
    """Says whether the trained stage finds people better than another system, from the differences in AP."""
    better = {
        "ahead": f"finds people better than {other}",
        "behind": f"finds people worse than {other}",
        "undecided": f"is neither better nor worse at finding people than {other}, as far as these people can tell",
    }
    return f"The trained stage {better[verdict(ahead)]}: its mAP is ahead by {signed(ahead)} points."


def signed(ahead: Interval) -> str:
    """Formats differences in points with their interval."""
    return f"{100 * ahead.mean:+.2f} ({100 * ahead.low:+.2f} to {100 * ahead.high:+.2f})"


def _read(folder: str) -> _Scored:
    path = Path(folder).expanduser()
    if not (path / "scores.json").is_file():
        raise UserError(f"{folder} has no scores.json; eval.py --workdir {folder} writes it.")
    again = f"eval.py --workdir {folder} writes it again."
    scores = read_json(path / "scores.json", again)
    kinds = {"dataset": str, "protocol": str, "settings": dict, "trained": dict}
    for name, kind in kinds.items():
        if not isinstance(scores.get(name), kind):
            raise UserError(f"{path / 'scores.json'} has no {name}; {again}")
    return _Scored(folder, scores, PerProbe.read(path / FILE))


def _common(runs: Sequence[_Scored]) -> list[str]:
    """Returns the searches that all runs were scored on, and refuses runs that do not compare."""
    first = runs[0]
    for run in runs[1:]:
        for key in ("dataset", "protocol"):
            if run.scores[key] != first.scores[key]:
                raise UserError(
                    f"the {key} of {first.name} is {first.scores[key]}, and that of {run.name} {run.scores[key]}; "
                    f"score both in the same way."
                )
    searches = [search for search in first.scores["settings"] if all(search in run.probes.images for run in runs)]
    for search in searches:
        for run in runs:
            figures = {(search, "trained", measure) for measure in MEASURES}
            if search not in run.scores["trained"] or not figures <= run.probes.figures.keys():
                raise UserError(
                    f"{run.name} has no figures of the trained stage ({search}); eval.py --workdir {run.name} writes "
                    f"them."
                )
            if run.probes.images[search] != first.probes.images[search]:
                raise UserError(
                    f"{first.name} and {run.name} were scored on other images ({search}), so their probes cannot be "
                    f"paired; score both with the same --data_dir."
                )
    if not searches:
        raise UserError(f"{' and '.join(run.name for run in runs)} have no search in common.")
    return searches


def _rows(search: str, runs: Sequence[_Scored]) -> dict[str, dict]:
    """Returns by run its rank-1 and mAP, and by how much it is ahead of the first run."""
    first, rows = runs[0], {}
    for run in runs:
        scored = run.scores["trained"][search]
        rows[run.name] = {"rank1": scored["cmc"][0], "mAP": scored["mAP"]}
        if run is not first:
            rows[run.name] |= {
                f"{name}_ahead": run.probes.ahead(first.probes, search, measure, "trained", "trained")._asdict()
                for measure, name in (("rank1", "rank1"), ("AP", "mAP"))
            }
    return rows


def _table(first: _Scored, title: str, rows: dict[str, dict]) -> Table:
    cells = []
    for name, row in rows.items():
        line = [name, f"{100 * row['rank1']:.2f}", f"{100 * row['mAP']:.2f}"]
        ahead = [Interval(**row[key]) for key in ("rank1_ahead", "mAP_ahead") if key in row]
        line += [signed(one) for one in ahead] or ["", ""]
        cells.append([*line, verdict(ahead[1]) if ahead else ""])
    people = next(row["mAP_ahead"]["people"] for row in rows.values() if "mAP_ahead" in row)
    caption = (
        f"{first.scores['dataset']}, {title}; protocol {first.scores['protocol']}; in %. Ahead of {first.name}: paired "
        f"bootstrap over {people} persons, 95% interval"
    )
    return Table(caption, ["", *MEASURES.values(), "rank-1 ahead", "mAP ahead", "by mAP"], cells)
