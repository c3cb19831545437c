"""Interleaved timing: every round runs all variants in a new order, so that drift and noise affect all alike."""

from __future__ import annotations

import gc
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


def nothing() -> None:
    """Do nothing; the default `prepare`."""


@dataclass(frozen=True)
class Step:
    """A timed function, with its untimed preparation."""

    run: Callable[[], object]
    prepare: Callable[[], object] = nothing


def seconds(step: Step) -> float:
    """Measure one run's wall time."""
    step.prepare()
    start = time.perf_counter()
    step.run()
    return time.perf_counter() - start


def interleaved(
    steps: Mapping[str, Step], *, rounds: int = 1_000_000, budget: float = 1e9, at_least: int = 5
) -> dict[str, list[float]]:
    """Time each step in each round, in seconds.

    Args:
        rounds: at most so many.
        budget: seconds after which no round is begun, once there were `at_least` of them.
    """
    order, shuffle = list(steps), random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for name in order * 2:  # warm-up: lazy buffers, thread pools, caches
        seconds(steps[name])
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + budget
        for number in range(rounds):
            if number >= at_least and time.perf_counter() > end:
                break
            shuffle.shuffle(order)
            for name in order:
                times[name].append(seconds(steps[name]))
    finally:
        if enabled:
            gc.enable()
    return times


def quiet(times: list[float], block: int = 3) -> list[float]:
    """Keep the fastest of each few consecutive rounds: other programs only add time."""
    blocks = [times[start : start + block] for start in range(0, len(times), block)]
    return [min(values) for values in blocks if len(values) == block] or [min(times)]


def typical(times: list[float]) -> float:
    """Compute the median of the quiet rounds."""
    return statistics.median(quiet(times))


def overhead(times: Mapping[str, list[float]], variant: str, base: str = "base") -> float:
    """Compute the median over the quiet rounds of (variant - base) in seconds; paired, because speed drifts."""
    pairs = zip(quiet(times[variant]), quiet(times[base]), strict=True)
    return statistics.median(own - other for own, other in pairs)


def reset_peak_memory() -> None:
    """Reset `peak_memory`, where the system supports it (Linux)."""
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Read the process' largest resident size since the reset (or its start), bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
