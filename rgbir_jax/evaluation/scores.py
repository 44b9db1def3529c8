"""Scores as text."""

from collections.abc import Mapping

_COLUMNS = ("rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mINP", "gallery", "probes")


def table(rows: Mapping[str, Mapping], protocol: str, title: str) -> str:
    """A plain text table of scores in percent, mean ± standard deviation over the trials.

    Args:
        rows: a row's name -> what `protocols.evaluate` gives for a setting.
        protocol: its name, for the headline.
        title: dataset and system, for the headline.
    """
    trials = max(len(row["trials"]) for row in rows.values())
    over = f"mean ± standard deviation over {trials} trials" if trials > 1 else "one trial"
    width = max(map(len, rows))
    head = f"{'':{width}}" + "".join(
        f"  {name:>13}" if name in ("rank-1", "mAP") else f"  {name:>7}" for name in _COLUMNS
    )
    lines = [f"{title}; protocol {protocol}; in %, {over}", head]
    return "\n".join(lines + [f"{name:{width}}{_cells(row)}" for name, row in rows.items()])


def _cells(row: Mapping) -> str:
    def with_deviation(value: float, deviation: float) -> str:
        return f"  {100 * value:6.2f} ± {100 * deviation:4.2f}" if len(row["trials"]) > 1 else f"  {100 * value:13.2f}"

    later_ranks = "".join(f"  {100 * row['cmc'][k - 1]:7.2f}" for k in (5, 10, 20))
    return (
        with_deviation(row["cmc"][0], row["std"]["rank1"])
        + later_ranks
        + with_deviation(row["mAP"], row["std"]["mAP"])
        + f"  {100 * row['mINP']:7.2f}  {row['gallery_images']:7d}  {row['counted_probes']:7d}"
    )
