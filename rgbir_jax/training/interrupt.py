"""A stop that loses nothing: Ctrl-C and SIGTERM end training after the iteration at hand."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """Training was stopped from outside; its message says where it goes on."""


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether a stop was asked for; a second Ctrl-C stops at once."""
    asked = False

    def ask(number, frame):
        nonlocal asked
        del number, frame
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
