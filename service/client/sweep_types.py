"""Types of a sweep's answers."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class TrialJson(TypedDict):
    """A trial of a sweep: one choice of values."""

    number: int
    params: dict[str, Any]
    state: Literal["refused", "waiting", "running", "stopped", "complete", "failed", "cancelled"]
    value: float | None
    error: float | None
    evaluations: list[float | None]
    stopped_after: int | None
    step: int
    refusal: dict[str, Any] | None
    jobs: list[str]
    ended_at: str | None


class SweepSummaryJson(TypedDict):
    """A sweep as lists show it: `Client.get_sweep` also returns its trials."""

    id: str
    name: str
    status: Literal["running", "paused", "succeeded", "cancelled"]
    objective: str
    direction: Literal["max", "min"]
    counts: dict[str, int]
    best: TrialJson | None
    no_best: str | None
    created_at: str
    ended_at: str | None


class SweepJson(SweepSummaryJson):
    """A sweep with its trials."""

    request: dict[str, Any]
    trials: list[TrialJson]
    device_seconds: float


class SweepPlanJson(TypedDict):
    """What a sweep would do."""

    trials: int
    jobs: int
    refused: int
    objective: str
    direction: Literal["max", "min"]
    seconds: float | None
    warnings: list[str]
    planned: list[TrialJson]


class ImportanceJson(TypedDict):
    """How much each field of a space mattered."""

    importance: dict[str, float] | None
    trials: int
    reason: NotRequired[str | None]
