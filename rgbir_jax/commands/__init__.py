"""What the command lines call: train, evaluate and draw.

Ctrl-C ends each of them with one line and the exit status 130, also while it is still importing its modules.
"""

import sys
from pathlib import Path
from types import TracebackType
from typing import NoReturn

STOPPED = 130  # exit status after Ctrl-C


def stop(sentence: str) -> NoReturn:
    """Prints a sentence on stderr and ends the program as Ctrl-C does."""
    print(sentence, file=sys.stderr, flush=True)
    sys.exit(STOPPED)


def _end(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Takes the place of Python's own end by an exception: the one by Ctrl-C has no traceback."""
    if issubclass(kind, KeyboardInterrupt):
        stop(f"{Path(sys.argv[0]).name}: stopped.")
    _end_before(kind, error, traceback)


_end_before = sys.excepthook
sys.excepthook = _end
