"""The JSON that the API answers, as the client's callers see it. Newer servers may add keys."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

Status = Literal["queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"]
ENDED = frozenset({"succeeded", "failed", "cancelled"})


class ProgressJson(TypedDict):
    """How far a job is."""

    step: int
    total_steps: int
    epoch: float
    eta_seconds: float | None


class ProblemJson(TypedDict):
    """Why a job failed, and what to do about it."""

    code: str
    message: str
    hint: NotRequired[str | None]


class AsaCountsJson(TypedDict):
    """Subspaces over all layers."""

    total: int
    active: int
    target: int | None


class JobJson(TypedDict):
    """A fine-tuning job."""

    id: str
    name: str
    status: Status
    progress: ProgressJson
    spec: dict[str, Any]
    resolved: dict[str, Any]
    attempt: int
    error: ProblemJson | None
    asa: AsaCountsJson | None
    result: dict[str, Any] | None
    created_at: str


class DatasetJson(TypedDict):
    """An uploaded data set and its profile."""

    id: str
    name: str
    format: str
    rows: int
    size_bytes: int
    sha256: NotRequired[str]
    columns: NotRequired[list[dict[str, Any]]]
    problem_count: NotRequired[int]
    problems: NotRequired[list[dict[str, Any]]]
    duplicates: NotRequired[dict[str, Any]]
    notices: NotRequired[list[dict[str, Any]]]
    created_at: str


class MetricJson(TypedDict):
    """What was measured at one step."""

    seq: int
    kind: Literal["train", "eval"]
    step: int
    epoch: float
    time: str
    values: dict[str, float | None]  # None for what is not a number


class EventJson(TypedDict):
    """Something that happened to a job."""

    seq: int
    time: str
    type: str
    message: str
    data: NotRequired[dict[str, Any]]


class LogPieceJson(TypedDict):
    """A piece of the training log, from one byte to the next."""

    data: str
    offset: int
    next: int


class SubspaceJson(TypedDict):
    """One subspace of one adapted layer."""

    index: int
    rows: int
    rank: int
    importance: float | None
    active: bool
    pruned_at: int | None


class MaskStepJson(TypedDict):
    """One pruning: how many subspaces were to stay, and how many did (null for one yet to come)."""

    step: int
    wanted: int
    reached: int | None


class SubspaceMapJson(TypedDict):
    """The whole ASA picture at a step."""

    total: int
    active: int
    target: int | None
    modules: dict[str, list[SubspaceJson]]
    schedule: list[MaskStepJson]


class ArtifactJson(TypedDict):
    """A file that a job left: one zip."""

    name: Literal["adapter", "lora", "merged", "metrics"]
    size_bytes: int
    sha256: str
    manifest: dict[str, Any]
