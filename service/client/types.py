"""Types of the API's JSON. Newer servers may add keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NotRequired, TypedDict, TypeVar

from service.client.fleet_types import QueuePlaceJson

T = TypeVar("T")

Status = Literal["queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"]
ENDED = frozenset({"succeeded", "failed", "cancelled"})


class ContenderProgressJson(TypedDict):
    """Contender that is trained for comparison, after the job's own steps."""

    contender: str
    place: int
    step: int
    steps: int
    eta_seconds: float | None


class ProgressJson(TypedDict):
    """Progress of a job."""

    step: int
    total_steps: int
    epoch: float
    eta_seconds: float | None
    contender: NotRequired[ContenderProgressJson | None]  # absent from services before 0.3


class ProblemJson(TypedDict):
    """Reason of a job's failure, with its remedy."""

    code: str
    message: str
    hint: NotRequired[str | None]


class AsaCountsJson(TypedDict):
    """Numbers of subspaces over all layers."""

    total: int
    active: int
    target: int | None


class BestMetricJson(TypedDict):
    """Metric that compares a job's checkpoints; a result has its value as eval_<name>."""

    name: str
    direction: Literal["max", "min"]


class JudgementJson(TypedDict):
    """Metric of a finished model beside a baseline on the same rows; `low` and `high` bound its interval."""

    metric: str
    value: float | None
    baseline: float | None
    predicts: str
    low: float | None
    high: float | None
    level: float
    method: str | None
    rows: int
    no_better: bool


class WarningJson(TypedDict):
    """Reason to doubt a job that has succeeded, such as no_better_than_baseline; each cause has code and message."""

    code: str
    message: str
    data: str
    causes: list[dict[str, str]]


class MeasuredJson(TypedDict):
    """Metrics of one of the compared models on some rows; `difference` is to the job's own adapter."""

    rows: int
    metrics: dict[str, float | None]
    low: float | None
    high: float | None
    method: str | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    difference_method: str | None


class ContenderJson(TypedDict):
    """One of the compared models; "adamss" is the job's own adapter."""

    contender: str
    status: Literal["trained", "failed"]
    adapter_parameters: int | None
    head_parameters: int | None
    learning_rate: float | None
    head_learning_rate: float | None
    step: int | None
    steps: int | None
    seconds: float | None
    held_out: MeasuredJson | None
    test: MeasuredJson | None
    error: ProblemJson | None
    gain_per_thousand: float | None


class ComparisonJson(TypedDict):
    """A job's own adapter beside the contenders that its spec names."""

    metric: str
    direction: Literal["max", "min"]
    level: float
    planned: list[str]
    gain_over: str | None
    contenders: list[ContenderJson]


class EvaluatedJson(TypedDict):
    """The model that a job evaluates, and the data set."""

    job: str
    model: Literal["trained", "base"]
    dataset: str


class InspectedJson(TypedDict):
    """The spectrum that a job measures: base model and data set."""

    model: str
    dataset: str


class JobDeviceJson(TypedDict):
    """A device that a job has."""

    name: str
    kind: str


class JobSummaryJson(TypedDict):
    """A job as lists show it: `Client.get_job` also returns its spec and plan."""

    id: str
    name: str
    tags: NotRequired[list[str]]  # absent from services before 0.3, as are group and notes
    group: NotRequired[str | None]
    notes: NotRequired[str | None]  # in lists the beginning
    sweep: NotRequired[str | None]  # absent from services before 0.3, as is trial
    trial: NotRequired[int | None]
    owner: NotRequired[str | None]  # absent from services before 0.3, as are mine, baseline, priority and preemptible
    mine: NotRequired[bool]
    baseline: NotRequired[bool]
    priority: NotRequired[int]
    preemptible: NotRequired[bool]
    devices: NotRequired[int]  # absent from services before 0.3, as are device_kind and runs_on
    device_kind: NotRequired[str | None]
    runs_on: NotRequired[list[JobDeviceJson]]
    task: NotRequired[str | None]  # absent from services before 0.3, as is base_model
    base_model: NotRequired[str | None]
    status: Status
    progress: ProgressJson
    attempt: int
    spec_version: NotRequired[int]  # absent from services before 0.3
    error: ProblemJson | None
    resumable: NotRequired[bool]  # absent from services before 0.3
    asa: AsaCountsJson | None
    best_metric: NotRequired[BestMetricJson | None]  # absent from services before 0.2
    evaluates: NotRequired[EvaluatedJson | None]
    inspects: NotRequired[InspectedJson | None]
    result: dict[str, Any] | None
    judgement: NotRequired[JudgementJson | None]  # absent from services before 0.3, as are warnings
    warnings: NotRequired[list[WarningJson]]
    created_at: str
    queued_at: str
    queue: NotRequired[QueuePlaceJson | None]  # absent from services before 0.3
    started_at: str | None
    ended_at: str | None


class JobJson(JobSummaryJson):
    """A fine-tuning job, the evaluation of another one's model, or the measurement of a base model's spectrum."""

    comparison: NotRequired[ComparisonJson | None]  # absent from services before 0.3
    spec: dict[str, Any]
    resolved: dict[str, Any]
    metrics_archived_at: NotRequired[str | None]  # absent from services before 0.3


class SuggestionJson(TypedDict):
    """A job that a data set would do for."""

    task: str
    problem_type: str | None
    dataset: dict[str, str | list[str]]
    confidence: Literal["certain", "likely"]
    reason: str


class DatasetJson(TypedDict):
    """An uploaded data set and its profile."""

    id: str
    name: str
    format: str
    rows: int
    size_bytes: int
    sha256: NotRequired[str]
    columns: NotRequired[list[dict[str, Any]]]
    empty_rows: NotRequired[int]
    problem_count: NotRequired[int]
    problems: NotRequired[list[dict[str, Any]]]
    problem_groups: NotRequired[list[dict[str, Any]]]
    duplicates: NotRequired[dict[str, Any]]
    notices: NotRequired[list[dict[str, Any]]]
    image_modes: NotRequired[dict[str, int]]
    splits: NotRequired[dict[str, str]]
    suggestion: NotRequired[SuggestionJson | None]
    created_at: str
    created: NotRequired[bool]  # after an upload: false where the project had a data set of the same file


class MetricJson(TypedDict):
    """Values logged at one step."""

    seq: int
    kind: Literal["train", "eval"]
    step: int
    epoch: float
    time: str
    values: dict[str, float | None]  # null for NaN and infinity


class EventJson(TypedDict):
    """An event of a job."""

    seq: int
    time: str
    type: str
    message: str
    data: NotRequired[dict[str, Any]]


class SampleJson(TypedDict):
    """A held-out prompt, its answer in the data, and what the model wrote."""

    row: int
    prompt: str
    expected: str
    completion: str


class SamplesJson(TypedDict):
    """Data of an event of type samples: the texts at one step."""

    step: int
    samples: list[SampleJson]


class PhaseJson(TypedDict):
    """A stretch of a job's time, such as waiting, loading, training or verifying."""

    phase: str
    artifact: str | None
    attempt: int
    began_at: str
    seconds: float | None


class LogPieceJson(TypedDict):
    """A piece of the training log, from byte `offset` to byte `next`."""

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
    """A pruning step: `wanted` subspaces were to stay, `reached` did (null before the step)."""

    step: int
    wanted: int
    reached: int | None


class SubspaceMapJson(TypedDict):
    """State of all subspaces at a step."""

    total: int
    active: int
    target: int | None
    modules: dict[str, list[SubspaceJson]]
    schedule: list[MaskStepJson]


class ArtifactJson(TypedDict):
    """A published zip of a job."""

    name: Literal["adapter", "lora", "merged", "metrics"]
    size_bytes: int
    sha256: str
    manifest: dict[str, Any]


class PieceJson(TypedDict):
    """Event of a text that a model writes: `prompt_tokens` first, pieces of `text`, `finish` and `tokens` last."""

    of: Literal["trained", "base"]
    prompt_tokens: NotRequired[int]
    text: NotRequired[str]
    finish: NotRequired[Literal["stop", "length"]]
    tokens: NotRequired[int]


class Listing(list[T]):
    """The entries of a list up to a limit.

    Attributes:
        total: entries of the whole list, counted up to 1,000; None from a service before 0.3.
    """

    def __init__(self, entries: Iterable[T] = (), total: int | None = None) -> None:
        super().__init__(entries)
        self.total = total
