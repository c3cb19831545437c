"""Report a contender's training: its position and what happens to it, without curves, checkpoints and maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adamss_core.training.null_reporter import NullReporter
from adamss_core.training.request import Reporter


class ContenderReporter(NullReporter):
    """Reporter of one contender on top of the job's own.

    Args:
        show: called with the step and the seconds left after each step.
    """

    def __init__(self, reporter: Reporter, contender: str, show: Callable[[int, float | None], None]) -> None:
        self._reporter, self._contender, self._show = reporter, contender, show

    def progress(
        self, *, step: int, total_steps: int, epoch: float, eta_seconds: float | None, asa: dict[str, int] | None
    ) -> None:
        self._show(step, eta_seconds)

    def event(self, type: str, message: str, data: dict[str, Any]) -> None:
        self._reporter.event(type, f"{self._contender}: {message}", data | {"contender": self._contender})

    def stop_requested(self) -> bool:
        return self._reporter.stop_requested()
