"""Times functions: medians, of rounds in which the functions to compare take turns."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def in_turn(measurements: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measures everything once per round, so that a slow minute of the machine affects all sides equally."""
    results: dict[str, list[float]] = {name: [] for name in measurements}
    for _ in range(rounds):
        for name, measure in measurements.items():
            results[name].append(measure())
    return results


def medians(results: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in results.items()}


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Calls a function several times; returns the median seconds and its last result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result
