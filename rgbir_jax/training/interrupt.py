"""Stopping without losing work: Ctrl-C and SIGTERM end training after the current iteration."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """Training was stopped from outside. The message says how to resume it."""


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether a stop was requested. A second Ctrl-C stops at once."""
    requested = False

    def request(number, frame):
        nonlocal requested
        del number, frame
        requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: requested
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
