"""A reporter that drops every report: for processes beside the main one, and for runs without an observer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adamss_core.spec import Plan
from adamss_core.training.request import AdapterSize, ArtifactFile, MetricKind, Values


class NullReporter:
    """Reporter without effect; it never asks the run to stop."""

    def metrics(self, *, kind: MetricKind, step: int, epoch: float, values: Values) -> None: ...

    def progress(
        self, *, step: int, total_steps: int, epoch: float, eta_seconds: float | None, asa: dict[str, int] | None
    ) -> None: ...

    def subspaces(self, *, step: int, summary: dict[str, Any]) -> None: ...

    def event(self, type: str, message: str, data: dict[str, Any]) -> None: ...

    def checkpoint(self, *, step: int, path: str, best: bool, values: dict[str, Any]) -> None: ...

    def resumed(self, step: int) -> None: ...

    def planned(self, plan: Plan, size: AdapterSize) -> None: ...

    def artifact(self, artifact: ArtifactFile) -> None: ...

    def result(self, result: dict[str, Any]) -> None: ...

    def decomposition(self, path: Path) -> None: ...

    def stop_requested(self) -> bool:
        return False
