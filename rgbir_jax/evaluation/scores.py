"""The content of scores.json, and scores as text."""

from collections.abc import Mapping

import numpy as np

from rgbir_jax.evaluation.disentanglement import Table

_COLUMNS = ("rank-1", "rank-5", "rank-10", "rank-20", "AP by", "mAP", "mINP", "gallery", "probes")
_WIDTHS = {"rank-1": 13, "mAP": 13, "AP by": 9}  # of the columns that are wider than 7


def systems(scores: Mapping) -> dict[str, dict]:
    """Returns the scored systems in the content of scores.json, in its order.

    A system is an entry that maps settings to scores. Strings, lists and entries that map names to numbers or text
    are none.
    """
    return {
        name: entry
        for name, entry in scores.items()
        if isinstance(entry, dict) and entry and all(isinstance(scored, dict) for scored in entry.values())
    }


def earlier_stages(scores: Mapping) -> list[str]:
    """Returns the systems that are stages before the last one, such as the teacher and the control."""
    others = {"chance", "raw_pixels", "untrained", "trained", *scores["controls"]}
    return [system for system in systems(scores) if system not in others]


def table(rows: Mapping[str, Mapping], protocol: str, title: str) -> str:
    """Formats scores as a plain text table in percent, mean ± standard deviation over the trials.

    The column `AP by` says which form of AP the mAP averages (`metrics.AP`).

    Args:
        rows: what `evaluate` gives for a setting, by the name of the row.
        protocol: the protocol's name, for the headline.
        title: dataset and system, for the headline.
    """
    trials = max(len(row["trials"]) for row in rows.values())
    over = f"mean ± standard deviation over {trials} trials" if trials > 1 else "one trial"
    if any(_is_constant(row) for row in rows.values()):
        over += ", which have the same gallery"
    width = max(map(len, rows))
    head = f"{'':{width}}" + "".join(f"  {name:>{_WIDTHS.get(name, 7)}}" for name in _COLUMNS)
    lines = [f"{title}; protocol {protocol}; in %, {over}", head]
    return "\n".join(lines + [f"{name:{width}}{_cells(row)}" for name, row in rows.items()])


def _is_constant(row: Mapping) -> bool:
    """Says whether the trials of a row cannot differ."""
    return len(row["trials"]) > 1 and row.get("different_galleries") == 1


def _cells(row: Mapping) -> str:
    def with_deviation(value: float, deviation: float) -> str:
        if len(row["trials"]) == 1:
            return f"  {100 * value:13.2f}"
        return f"  {100 * value:6.2f} ± {'none' if _is_constant(row) else f'{100 * deviation:4.2f}'}"

    later_ranks = "".join(f"  {100 * row['cmc'][k - 1]:7.2f}" for k in (5, 10, 20))
    return (
        with_deviation(row["cmc"][0], row["std"]["rank1"])
        + later_ranks
        + f"  {row.get('AP', 'hits'):>9}"
        + with_deviation(row["mAP"], row["std"]["mAP"])
        + f"  {100 * row['mINP']:7.2f}  {row['gallery_images']:7d}  {row['counted_probes']:7d}"
    )


def tables(scores: Mapping) -> str:
    """Formats all settings as text, one row per system; re-ranked scores, pairs, and how well images are reconstructed.

    Args:
        scores: the content of scores.json.
    """
    scored = systems(scores)

    parts = [
        table(
            {name: by_setting[setting] for name, by_setting in scored.items()},
            scores["protocol"],
            f"{scores['dataset']}, {setting}",
        )
        for setting in scores["settings"]
    ]
    if again := scores.get("reranked"):
        parts.append(table(again["scores"], scores["protocol"], f"{scores['dataset']}, trained, {again['label']}"))
    first, title = next(iter(scores["settings"].items()))
    pairs = {name: row[first]["verification"] for name, row in scored.items() if "verification" in row[first]}
    if pairs:
        parts.append(str(verification_table(pairs, f"{scores['dataset']}, {title}")))
    if sentence := comparison(scores):
        parts.append(sentence)
    if "reconstruction" in scores:
        parts.append("Reconstruction of test images, L1: {l1:.3f}; of their mean image: {mean_image:.3f}".format(
            **scores["reconstruction"]
        ))  # fmt: skip
    return "\n\n".join(parts)


def verification_table(rows: Mapping[str, Mapping], title: str) -> Table:
    """Makes the table of EER and TPR at small FPR, in percent, with the pairs of two persons that each rate accepts.

    Args:
        rows: what `verification` gives for a setting, by the name of the row.
        title: what all rows share, for the caption.
    """
    rates = list(next(iter(rows.values()))["tpr_at_fpr"])
    figures = [figure for row in rows.values() for figure in row["tpr_at_fpr"].values()]
    reasons = dict.fromkeys(figure["reason"] for figure in figures if figure["tpr"] is None)
    caption = (
        f"{title}: same person or not? In %, with the number of pairs of two persons that are accepted"
        f"{''.join(f'. {reason}' for reason in reasons)}"
    )
    lines = []
    for name, row in rows.items():
        found = [
            "-" if figure["tpr"] is None else f"{100 * figure['tpr']:.2f} ({figure['false_matches']:,})"
            for figure in row["tpr_at_fpr"].values()
        ]
        eer = "-" if row["eer"] is None else f"{100 * row['eer']:.2f}"
        lines.append([name, eer, *found, f"{row['same_pairs']:,}", f"{row['different_pairs']:,}"])
    head = ["", "EER", *(f"TPR at FPR {rate}" for rate in rates), "pairs of one person", "of two"]
    return Table(caption, head, lines)


def comparison(scores: Mapping) -> str:
    """Says in one sentence whether the trained stage is ahead of its teacher and of the control, in the first setting.

    Empty if the run has neither.
    """
    scored = systems(scores)
    setting, title = next(iter(scores["settings"].items()))

    def figures(system: str) -> np.ndarray:
        return 100 * np.array([scored[system][setting]["cmc"][0], scored[system][setting]["mAP"]])

    def versus(system: str) -> str:
        rank1, mAP = gains = np.round(figures("trained") - figures(system), 2)
        verdict = "ahead of" if all(gains > 0) else "behind" if all(gains < 0) else "neither ahead of nor behind"
        return f"{verdict} the {system} (rank-1 {rank1:+.2f} points, mAP {mAP:+.2f})"

    others = [versus(system) for system in ("teacher", "control") if system in scored]
    if not others:
        return ""
    return f"In {title}, the trained stage is {' and '.join(others)}. One run decides little: seeds differ by points."
