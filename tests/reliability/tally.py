"""What happened: faults by kind, recoveries, lost iterations, and everything that must not happen."""

from dataclasses import asdict, dataclass, field

from benchmarks.seeds import grid


@dataclass
class Row:
    """All faults of one kind.

    Attributes:
        faults: how often it took effect.
        missed: how often the program had finished before.
        recovered: after how many of them the same command trained further or had nothing left to do.
        lost: what was trained once more after each fault, in intervals between two checkpoints.
        refusals: how many programs ended with one sentence.
        tracebacks: how many programs printed a traceback.
    """

    faults: int = 0
    missed: int = 0
    recovered: int = 0
    lost: list[float] = field(default_factory=list)
    refusals: int = 0
    tracebacks: int = 0


class Tally:
    """Rows by kind, the sentences that were printed, and failures."""

    def __init__(self):
        self.rows: dict[str, Row] = {}
        self.sentences: set[str] = set()
        self.failures: list[str] = []
        self.left: list[str] = []  # names of unfinished files that killed programs left and later ones did not remove
        self._pending: list[str] = []  # kinds of faults from which the run has not recovered yet

    def row(self, kind: str) -> Row:
        """Returns the row of a kind."""
        return self.rows.setdefault(kind, Row())

    def fault(self, kind: str, lost: float | None = None) -> None:
        """Counts a fault that took effect, and what it cost if that is known."""
        self.row(kind).faults += 1
        self._pending.append(kind)
        if lost is not None:
            self.row(kind).lost.append(lost)

    def recovered(self) -> None:
        """Counts all faults up to now as recovered from."""
        for kind in self._pending:
            self.row(kind).recovered += 1
        self._pending.clear()

    def fail(self, failure: str) -> None:
        """Notes something that must not happen."""
        print(f"FAILED: {failure}", flush=True)
        self.failures.append(failure)

    def content(self) -> dict:
        """Returns everything for JSON."""
        rows = {kind: asdict(row) for kind, row in self.rows.items()}
        return {"faults": rows, "sentences": sorted(self.sentences), "left": self.left, "failures": self.failures}

    def table(self) -> str:
        """Returns a Markdown table with a line per kind and a sum."""
        rows = self.rows.values()
        total = Row(
            *(sum(getattr(row, name) for row in rows) for name in ("faults", "missed", "recovered")),
            lost=[steps for row in rows for steps in row.lost],
            refusals=sum(row.refusals for row in rows),
            tracebacks=sum(row.tracebacks for row in rows),
        )
        lines = {kind: row for kind, row in self.rows.items() if row.faults or row.refusals} | {"all": total}
        head = [
            "fault",
            "times",
            "recovered",
            "save intervals lost, mean",
            "at most",
            "ended with one sentence",
            "tracebacks",
        ]
        return grid(head, {kind: _cells(row) for kind, row in lines.items()})


def _cells(row: Row) -> list[str]:
    lost = [f"{sum(row.lost) / len(row.lost):.2f}", f"{max(row.lost):.2f}"] if row.lost else ["", ""]
    return [str(row.faults), str(row.recovered), *lost, str(row.refusals), str(row.tracebacks)]
