"""What is in scores.json, and scores as text."""

from collections.abc import Mapping

SETTING_NAMES = {
    "all_single": "all-search, single-shot",
    "all_multi": "all-search, multi-shot",
    "indoor_single": "indoor-search, single-shot",
    "indoor_multi": "indoor-search, multi-shot",
    "single_query_trapezoid": "single query, AP by trapezoids (Market-1501's own)",
    "single_query_hits": "single query, AP as mean precision at the hits (usual)",
}

_COLUMNS = ("rank-1", "rank-5", "rank-10", "rank-20", "AP by", "mAP", "mINP", "gallery", "probes")
_WIDTHS = {"rank-1": 13, "mAP": 13, "AP by": 9}  # of the columns that are wider than 7


def systems(scores: Mapping) -> dict[str, dict]:
    """Picks the scored systems out of the content of scores.json, in its order.

    A system is an entry that maps settings to scores. Strings, lists and `reconstruction`, which maps names to
    numbers, are not.
    """
    return {
        name: entry
        for name, entry in scores.items()
        if isinstance(entry, dict) and entry and all(isinstance(scored, dict) for scored in entry.values())
    }


def table(rows: Mapping[str, Mapping], protocol: str, title: str) -> str:
    """Formats scores as a plain text table in percent, mean ± standard deviation over the trials.

    The column `AP by` says which form of AP the mAP averages (`metrics.AP`).

    Args:
        rows: a row's name -> what `protocols.evaluate` or `evaluate_market` gives for a setting.
        protocol: the protocol's name, for the headline.
        title: dataset and system, for the headline.
    """
    trials = max(len(row["trials"]) for row in rows.values())
    over = f"mean ± standard deviation over {trials} trials" if trials > 1 else "one trial"
    width = max(map(len, rows))
    head = f"{'':{width}}" + "".join(f"  {name:>{_WIDTHS.get(name, 7)}}" for name in _COLUMNS)
    lines = [f"{title}; protocol {protocol}; in %, {over}", head]
    return "\n".join(lines + [f"{name:{width}}{_cells(row)}" for name, row in rows.items()])


def _cells(row: Mapping) -> str:
    def with_deviation(value: float, deviation: float) -> str:
        return f"  {100 * value:6.2f} ± {100 * deviation:4.2f}" if len(row["trials"]) > 1 else f"  {100 * value:13.2f}"

    later_ranks = "".join(f"  {100 * row['cmc'][k - 1]:7.2f}" for k in (5, 10, 20))
    return (
        with_deviation(row["cmc"][0], row["std"]["rank1"])
        + later_ranks
        + f"  {row.get('AP', 'hits'):>9}"
        + with_deviation(row["mAP"], row["std"]["mAP"])
        + f"  {100 * row['mINP']:7.2f}  {row['gallery_images']:7d}  {row['counted_probes']:7d}"
    )
