"""Collect the reports of a run that are to be written in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from adamss_core.spec import Plan
from adamss_core.training.request import AdapterSize, ArtifactFile

Row = dict[str, Any]


def report_key(kind: str, row: Row) -> tuple[object, ...]:
    """Identify a report: at most one with this key is stored for a job."""
    if kind == "event":
        return kind, row["type"], row["time"]
    return (kind, row["kind"], row["step"]) if kind == "metric" else (kind, row["step"])


@dataclass
class Batch:
    """Rows that wait to be written, by kind of report. Rows of the same step replace each other.

    Attributes:
        artifacts: zips that are complete, by name; a new attempt writes them anew, so the write-ahead log lacks them.
        progress: fields of the job's row; the newest replaces earlier ones.
        result: of a run that still trains contenders; the newest replaces earlier ones.
        plan: the run's plan and the size of its adapter, until they are recorded.
        resumed: step of the checkpoint that the attempt resumed from, until it is recorded.
        tried: whether a transaction with these rows failed, perhaps only after its commit.
    """

    metrics: dict[tuple[str, int], Row] = field(default_factory=dict)
    subspaces: dict[int, Row] = field(default_factory=dict)
    checkpoints: dict[int, Row] = field(default_factory=dict)
    events: list[Row] = field(default_factory=list)
    artifacts: dict[str, ArtifactFile] = field(default_factory=dict)
    progress: Row | None = None
    result: Row | None = None
    plan: tuple[Plan, AdapterSize] | None = None
    resumed: int | None = None
    tried: bool = False

    def __bool__(self) -> bool:
        rows = self.metrics or self.subspaces or self.checkpoints or self.events or self.artifacts
        return bool(rows or self.progress or self.result or self.plan or self.resumed is not None)

    def add(self, kind: str, row: Row) -> None:
        """Add a report of a kind that the write-ahead log knows."""
        if kind == "metric":
            self.metrics[row["kind"], row["step"]] = row
        elif kind == "subspaces":
            self.subspaces[row["step"]] = row
        elif kind == "checkpoint":
            self.checkpoints[row["step"]] = row
        elif kind == "event":
            self.events.append(row)

    def followed_by(self, newer: Batch) -> Batch:
        """Return both batches in one, the newer one's rows in the place of older ones of the same step."""
        return Batch(
            metrics=self.metrics | newer.metrics,
            subspaces=self.subspaces | newer.subspaces,
            checkpoints=self.checkpoints | newer.checkpoints,
            events=self.events + newer.events,
            artifacts=self.artifacts | newer.artifacts,
            progress=newer.progress or self.progress,
            result=newer.result or self.result,
            plan=newer.plan or self.plan,
            resumed=self.resumed if newer.resumed is None else newer.resumed,
            tried=self.tried or newer.tried,
        )
